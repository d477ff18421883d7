"""Use a finished model: write and explain text, calculate, and test what it knows."""
