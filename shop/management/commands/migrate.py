"""
Django's `migrate`, run as the owner of the tables and without `statement_timeout`.

The timeouts in `shop/settings.py` are for statements that a buyer waits for. They would cancel the
build of an index on a large table and leave it INVALID. `lock_timeout` stays: while a statement
waits for a lock on a table, all buyers wait behind it. Only CONCURRENTLY runs without it: it waits
for old transactions to end, and blocks nobody.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.core.management.commands import migrate
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from environ import Env  # type: ignore[import-untyped]

from shop.telemetry import logs


class Command(migrate.Command):
    def __init__(self, stdout: Any = None, **options: Any) -> None:
        """Write to the log, unless the output is a terminal or was passed in."""
        if stdout is None and not sys.stdout.isatty():
            stdout = logs.Lines(logging.getLogger("migrate"))
        super().__init__(stdout=stdout, **options)

    def handle(self, *args: Any, **options: Any) -> None:
        """Reset the timeouts afterwards: tests keep using the connection."""
        connection = connections[options["database"]]
        _become_owner(connection)
        _execute(connection, "SET statement_timeout = 0")
        try:
            with connection.execute_wrapper(_without_lock_timeout):
                super().handle(*args, **options)
        finally:
            _execute(connection, "RESET statement_timeout")


def _become_owner(connection: BaseDatabaseWrapper) -> None:
    """Connect as the role of `DATABASE_OWNER_URL`, for the rest of this process."""
    owner = Env.db_url_config(settings.DATABASE_OWNER_URL)
    if owner["USER"] != connection.settings_dict["USER"]:
        connection.close()
        for name in ("USER", "PASSWORD", "HOST", "PORT"):
            connection.settings_dict[name] = owner[name]


def _without_lock_timeout(
    execute: Callable[..., object], sql: object, params: object, many: bool, context: dict[str, Any]
) -> object:
    if "CONCURRENTLY" not in str(sql):
        return execute(sql, params, many, context)
    _execute(context["connection"], "SET lock_timeout = 0")
    try:
        return execute(sql, params, many, context)
    finally:
        _execute(context["connection"], "RESET lock_timeout")


def _execute(connection: BaseDatabaseWrapper, sql: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql)
