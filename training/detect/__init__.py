"""A face detector of our own, from photos with boxes to a trained network and its figures."""
