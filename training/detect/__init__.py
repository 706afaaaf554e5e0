"""Our own face detector, from photos with boxes to a trained network and its figures."""
