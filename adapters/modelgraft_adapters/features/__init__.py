"""Embeddings on disk: written once in a stream, read by every adapter on frozen features."""
