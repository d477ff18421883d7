"""Sharing with others: run archives, verification of repeated runs, reports, and the Hugging Face hub."""
