"""A head that a third party brings to modelgraft."""
