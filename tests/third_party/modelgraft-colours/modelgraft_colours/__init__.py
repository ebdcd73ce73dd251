"""Classify pictures by the names of colours."""
