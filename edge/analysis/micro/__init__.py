"""Brief movements of a face: where, when, how far. Never an expression, never an emotion."""
