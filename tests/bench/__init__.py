"""Benchmarks: `make bench`, or one of them with `python -m tests.bench NAME`.

Each prints its figures beside a baseline measured in the same run, as a ratio: these machines are noisy, and a ratio
travels better than a time. Nothing here fails on a slow day.
"""
