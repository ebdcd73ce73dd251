"""Classify images by the names of colours."""
