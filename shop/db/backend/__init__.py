"""Django's Postgres backend, with fewer health checks of a kept connection."""
