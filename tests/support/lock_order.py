"""Show in which order a piece of work takes its rows."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from django.db import connection, models, transaction

from tests.support.buyers import until


def somebody_waits() -> bool:
    """
    Whether a transaction waits for a row that this connection holds. Of `pg_stat_activity` a
    transaction sees no more than at its first look.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT EXISTS (SELECT FROM pg_locks"
            " WHERE NOT granted AND pg_backend_pid() = ANY(pg_blocking_pids(pid)))"
        )
        return bool(cursor.fetchone()[0])


def plan_as_in_large_tables() -> None:
    """There each row is found by its key, in the order in which the statement names them."""
    with connection.cursor() as cursor:
        for way in ("seqscan", "bitmapscan", "hashjoin", "mergejoin"):
            cursor.execute(f"SET LOCAL enable_{way} = off")


def take(row: models.Model, *, nowait: bool = False) -> None:
    type(row)._default_manager.select_for_update(no_key=True, nowait=nowait).get(pk=row.pk)


def assert_order(work: Callable[[], Any], *, first: models.Model, later: models.Model) -> None:
    """`work` waits for `first`, which somebody else has, and has not taken `later` by then."""

    def on_its_own() -> None:
        try:
            with transaction.atomic():
                plan_as_in_large_tables()
                work()
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            take(first)
            done = pool.submit(on_its_own)
            until(somebody_waits)
            take(later, nowait=True)
        done.result(timeout=20)
