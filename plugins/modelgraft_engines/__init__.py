"""Engines: what runs a model in place of torch."""
