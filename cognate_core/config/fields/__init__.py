"""The settings, one file for each section."""
