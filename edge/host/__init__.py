"""The machine: sensors, folders, child processes, quiet libraries."""
