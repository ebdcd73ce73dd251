"""Weights from the company's file server."""
