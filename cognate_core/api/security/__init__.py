"""Who may use the studio, and how often."""
