"""
The database backend: Django's own, but for the health check of a kept connection.

Django asks `SELECT 1` before the first statement of every request, a fifth of what a status read
costs Postgres and us. A connection that answered a moment ago is taken at its word: should Postgres
have gone since, one request gets 503 with `Retry-After`, and the next a new connection.
"""

from __future__ import annotations

import time

from django.db.backends.postgresql import base

TRUSTED_SECONDS = 1.0


class DatabaseWrapper(base.DatabaseWrapper):
    _answered_at = -TRUSTED_SECONDS  # on the monotonic clock

    def close_if_health_check_failed(self) -> None:
        """
        Django comes by before each statement, and when a block has ended: who was taken at its word
        is not asked later in the same request, where `SELECT 1` would open a transaction.
        """
        now = time.monotonic()
        if not self.errors_occurred and now - self._answered_at < TRUSTED_SECONDS:
            self.health_check_done = True
        super().close_if_health_check_failed()
        self._answered_at = now
