"""Prepares a Keras network for conversion: analysis, folding, quantization-aware training."""
