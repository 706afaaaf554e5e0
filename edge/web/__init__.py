"""The page on the device: snapshots from the analysis, shown to people by a thread of its own."""
