"""The pages. They read the progress log, draw what `insight` derives from it, and call the RunManager."""
