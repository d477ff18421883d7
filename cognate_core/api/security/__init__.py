"""Who may speak to the studio, and how often."""
