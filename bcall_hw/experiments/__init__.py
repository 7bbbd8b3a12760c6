"""Experiments over the public parts: the classifier and its demo. Each is a small module."""
