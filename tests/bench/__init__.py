"""The benchmark: `python -m tests.bench`; see README.md beside this file."""
