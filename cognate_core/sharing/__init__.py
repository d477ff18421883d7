"""What leaves this studio and what comes in from others: run archives, repetitions of a run, reports, the hub."""
