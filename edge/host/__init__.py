"""What the machine offers: sensors, folders, processes of its own, and silence."""
