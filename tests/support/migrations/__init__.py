"""The shop's migrations with one more, for tests of `manage.py migrate`."""
