"""Brief movements: made clips with their truth, the spotter measured, recognition that cannot leak."""
