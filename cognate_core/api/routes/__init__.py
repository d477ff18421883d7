"""The routes of the API, a file for each kind of thing. Each asks the RunManager or the progress log, as pages do."""
