"""How far apart two sets of features are, and whether more than by chance: on arrays alone, without torch."""
