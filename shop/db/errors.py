"""What an error of Postgres means for whoever met it, by its SQLSTATE."""

from __future__ import annotations

from django.db import Error, InterfaceError, OperationalError, connection

LOCK_NOT_AVAILABLE = "55P03"  # `lock_timeout` ended, or NOWAIT found a lock
DEADLOCK_DETECTED = "40P01"

# Connection exceptions, and Postgres that shuts down, starts up, or has no connection left.
UNAVAILABLE_CLASS = "08"
UNAVAILABLE = frozenset({"57P01", "57P02", "57P03", "57P05", "53300"})


def is_locked(error: BaseException) -> bool:
    """Another transaction holds a row that the statement needs: other rows can still be had."""
    return _sqlstate(error) in {LOCK_NOT_AVAILABLE, DEADLOCK_DETECTED}


def is_unavailable(error: BaseException) -> bool:
    """Postgres cannot be reached, or has ended the connection: no statement succeeds now."""
    if isinstance(error, InterfaceError):
        return True
    if not isinstance(error, OperationalError):
        return False
    state = _sqlstate(error)
    return not state or state.startswith(UNAVAILABLE_CLASS) or state in UNAVAILABLE


def _sqlstate(error: BaseException) -> str:
    """Empty where Postgres has not answered at all."""
    if not isinstance(error, Error):
        return ""
    return getattr(error.__cause__, "sqlstate", None) or ""


def wait_briefly(milliseconds: int) -> None:
    """For the rest of this transaction, wait no longer than this for any one lock."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('lock_timeout', %s, true)", [f"{milliseconds}ms"])
