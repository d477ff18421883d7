"""What people see. Pages wire: they read the progress log, draw what `insight` made of it, and ask the RunManager."""
