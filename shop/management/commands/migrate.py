"""
Django's `migrate`, as the owner of the tables, whose statements take the time they need.

The limits in `shop/settings.py` are for statements that a buyer waits for. They would cancel the
building of an index on a large table, which stays behind, INVALID. What waits for a lock on a table
keeps its limit: all buyers wait behind it. CONCURRENTLY waits for old transactions to end, in
nobody's way.
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
        """What it does is told in the log, unless somebody watches or asks for it."""
        if stdout is None and not sys.stdout.isatty():
            stdout = logs.Lines(logging.getLogger("migrate"))
        super().__init__(stdout=stdout, **options)

    def handle(self, *args: Any, **options: Any) -> None:
        """The connection has its own limits again afterwards: tests go on with it."""
        connection = connections[options["database"]]
        _become_owner(connection)
        _say(connection, "SET statement_timeout = 0")
        try:
            with connection.execute_wrapper(_wait_for_old_transactions):
                super().handle(*args, **options)
        finally:
            _say(connection, "RESET statement_timeout")


def _become_owner(connection: BaseDatabaseWrapper) -> None:
    """Connect as the role of `DATABASE_OWNER_URL`, for the rest of this process."""
    owner = Env.db_url_config(settings.DATABASE_OWNER_URL)
    if owner["USER"] != connection.settings_dict["USER"]:
        connection.close()
        for name in ("USER", "PASSWORD", "HOST", "PORT"):
            connection.settings_dict[name] = owner[name]


def _wait_for_old_transactions(
    execute: Callable[..., object], sql: object, params: object, many: bool, context: dict[str, Any]
) -> object:
    if "CONCURRENTLY" not in str(sql):
        return execute(sql, params, many, context)
    _say(context["connection"], "SET lock_timeout = 0")
    try:
        return execute(sql, params, many, context)
    finally:
        _say(context["connection"], "RESET lock_timeout")


def _say(connection: BaseDatabaseWrapper, sql: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql)
