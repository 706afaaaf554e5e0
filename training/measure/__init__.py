"""What networks get right, what they cost, and how that is told: tables, reports, pictures."""
