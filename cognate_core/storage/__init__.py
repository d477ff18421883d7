"""Storage: the SQLite database, the progress log in it, and the files of trained models."""
