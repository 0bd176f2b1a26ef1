"""Django's Postgres, asked less often whether it is still there."""
