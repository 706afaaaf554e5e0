"""What makes a node and its cameras appear in Home Assistant."""
