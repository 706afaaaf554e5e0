"""A face detector's network -> its files, what eight bits cost it, golden vectors, card and report."""
