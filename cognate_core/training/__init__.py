"""Training: loop, GrokFast, schedule, checkpoints. Importing its modules loads torch."""
