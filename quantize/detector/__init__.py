"""Converts a face detector's network: files, quantization cost, golden vectors, card and report."""
