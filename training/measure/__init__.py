"""Accuracy and cost of networks, as tables, reports and pictures."""
