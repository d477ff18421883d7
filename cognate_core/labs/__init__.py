"""Labs: small tasks, each of which shows what one part of the Cognate is for."""
