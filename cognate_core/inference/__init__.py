"""A finished model at work: it writes and explains text, calculates, and is asked what it knows."""
