"""Brief movements: synthetic clips with ground truth, evaluation of the spotter, recognition."""
