"""Classifies Postgres errors by their SQLSTATE."""

from __future__ import annotations

from django.db import Error, InterfaceError, OperationalError, connection

LOCK_NOT_AVAILABLE = "55P03"  # `lock_timeout` passed, or NOWAIT met a lock
DEADLOCK_DETECTED = "40P01"

# Connection exceptions; Postgres is shutting down, starting up or out of connections.
UNAVAILABLE_CLASS = "08"
UNAVAILABLE = frozenset({"57P01", "57P02", "57P03", "57P05", "53300"})


def is_locked(error: BaseException) -> bool:
    """Whether another transaction holds a row that the statement needs. Other rows are fine."""
    return _sqlstate(error) in {LOCK_NOT_AVAILABLE, DEADLOCK_DETECTED}


def is_unavailable(error: BaseException) -> bool:
    """Whether Postgres cannot be reached or has closed the connection."""
    if isinstance(error, InterfaceError):
        return True
    if not isinstance(error, OperationalError):
        return False
    state = _sqlstate(error)
    return not state or state.startswith(UNAVAILABLE_CLASS) or state in UNAVAILABLE


def _sqlstate(error: BaseException) -> str:
    """Empty if the error is not an answer of Postgres."""
    if not isinstance(error, Error):
        return ""
    return getattr(error.__cause__, "sqlstate", None) or ""


def wait_briefly(milliseconds: int) -> None:
    """Limit the wait for each lock in the rest of this transaction."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('lock_timeout', %s, true)", [f"{milliseconds}ms"])
