"""The running node: cameras, reloads, commands, announcements."""
