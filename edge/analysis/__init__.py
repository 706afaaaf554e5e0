"""From a frame to faces, their tracks and their expressions."""
