"""Measures that training and quantize share: each defined once."""
