"""``python -m modelgraft``."""

from modelgraft.cli.main import main

main()
