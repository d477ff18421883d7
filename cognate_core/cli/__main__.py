"""`python -m cognate_core.cli`: the same as `cognate`."""

from cognate_core.cli import app

app()
