"""How `embedded/sprig` was made: ``python -m modelgraft_embedded.training prepare|train|evaluate``."""
