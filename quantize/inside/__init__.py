"""What is in a model file: its graph, its costs, and what an Edge TPU makes of it."""
