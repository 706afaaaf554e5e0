"""The content of a model file: its graph, its cost, and its support by an Edge TPU."""
