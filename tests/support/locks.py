"""Rows that another connection locks, as by a transaction left open."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from django.db import connection, models

from workers.stack.services import Services


@contextmanager
def locked(services: Services, *rows: models.Model, mode: str = "UPDATE") -> Iterator[None]:
    """Lock these rows in another connection. Only in tests with `transaction=True`."""
    database = connection.settings_dict["NAME"]
    with psycopg.connect(services.superuser_url, dbname=database) as other:
        for row in rows:
            table, key = row._meta.db_table, row._meta.pk.column
            other.execute(f"SELECT FROM {table} WHERE {key} = %s FOR {mode}", [row.pk])
        yield


@contextmanager
def impatient(milliseconds: int = 100) -> Iterator[None]:
    """Let this connection wait only `milliseconds` for a lock."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('lock_timeout', %s, false)", [f"{milliseconds}ms"])
    try:
        yield
    finally:
        connection.close()
