"""
The fast path: model rows by hand-written SQL, for statements that every checkout runs.

Django takes 0.25 ms or more of CPU to build a query that Postgres answers in 0.05 ms if it is
prepared. That was half of a worker's time (docs/decisions/speed.md). Use querysets everywhere else.

Many rows are sent as one JSON text, which Postgres unpacks with `json_to_recordset`: an array for
each column took psycopg a millisecond for a single row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from typing import Any, TypeVar
from uuid import UUID

import orjson
from django.db import connection, models

Row = TypeVar("Row", bound=models.Model)
FromDatabase = Callable[[Any, Any, Any], Any]


def select(model: type[Row], tail: str, params: Sequence[Any]) -> list[Row]:
    """
    Instances of `model` with all columns; `tail` is the part of the SELECT after the table.

    `select(Variant, "WHERE id = ANY(%s) ORDER BY id", [ids])`
    """
    return returning(model, f"SELECT {columns(model)} FROM {model._meta.db_table} {tail}", params)


def returning(model: type[Row], statement: str, params: Sequence[Any]) -> list[Row]:
    """Instances of `model` from a whole statement that returns `columns(model)`."""
    return [row for row, _ in beside(model, statement, params)]


def beside(
    model: type[Row], statement: str, params: Sequence[Any]
) -> list[tuple[Row, tuple[Any, ...]]]:
    """Instances of `model`, each with the values that the statement returns after its columns."""
    names, converted = _shape(model)
    own = len(names)
    return [
        (model.from_db(connection.alias, names, _values(row[:own], converted)), row[own:])
        for row in rows(statement, params)
    ]


def rows(statement: str, params: Sequence[Any]) -> list[tuple[Any, ...]]:
    """The rows that a statement returns, as tuples."""
    with connection.cursor() as cursor:
        cursor.execute(statement, params)
        return cursor.fetchall()


def execute(statement: str, params: Sequence[Any]) -> int:
    """Run a statement that returns nothing. Returns the number of rows that it wrote."""
    with connection.cursor() as cursor:
        cursor.execute(statement, params)
        return cursor.rowcount


def insert(model: type[Row], instances: Sequence[Row]) -> Sequence[Row]:
    """Insert rows in one statement, in their order. Each instance gets its primary key."""
    if not instances:
        return instances
    statement = f"{insertion(model)} RETURNING {model._meta.pk.column}"
    keys = rows(statement, [as_json(values(instance) for instance in instances)])
    for instance, (key,) in zip(instances, keys, strict=True):
        instance.pk = key
        instance._state.adding = False  # noqa: SLF001 - as Django's own bulk_create does
        instance._state.db = connection.alias  # noqa: SLF001
    return instances


@cache
def insertion(model: type[models.Model], *, rows: str = "json_to_recordset") -> str:
    """
    An INSERT statement without RETURNING. Its parameter is `as_json` of the rows' `values`, or with
    `rows="json_to_record"` the `as_json_object` of one row.
    """
    names = ", ".join(column for column, _ in _written(model))
    types = ", ".join(
        f"{field.column} {field.db_type(connection)}" for field in _given_fields(model)
    )
    return (
        f"INSERT INTO {model._meta.db_table} ({names})"
        f" SELECT {names} FROM {rows}(%s::json) AS given ({types})"
    )


def values(instance: models.Model) -> dict[str, Any]:
    """The values of a new instance by column, without a key that Postgres generates."""
    return {column: getattr(instance, name) for column, name in _written(type(instance))}


def as_json(records: Iterable[Mapping[str, Any]]) -> str:
    """Records as one parameter for `json_to_recordset`. A null becomes SQL NULL."""
    return orjson.dumps(list(records)).decode()


def as_json_object(record: Mapping[str, Any]) -> str:
    return orjson.dumps(record).decode()


def array(ids: Iterable[int | UUID]) -> str:
    """Ids as an array literal for `= ANY(%s)`. psycopg's own conversion is slow."""
    return f"{{{','.join(map(str, ids))}}}"


@cache
def _written(model: type[models.Model]) -> list[tuple[str, str]]:
    """(column, attribute) of each field of a new row."""
    return [(str(field.column), field.attname) for field in _given_fields(model)]


def _given_fields(model: type[models.Model]) -> list[Any]:
    return [
        field for field in model._meta.concrete_fields if not isinstance(field, models.AutoField)
    ]


@cache
def columns(model: type[models.Model]) -> str:
    """All columns of the model, comma-separated. Not `*`: a migration may add columns."""
    table = model._meta.db_table
    return ", ".join(f"{table}.{field.column}" for field in model._meta.concrete_fields)


@cache
def _shape(model: type[models.Model]) -> tuple[list[str], list[tuple[int, FromDatabase]]]:
    """Field names in the order of `columns`, and (index, converter) of fields such as JSON."""
    fields = model._meta.concrete_fields
    converted = [
        (place, field.from_db_value)
        for place, field in enumerate(fields)
        if hasattr(field, "from_db_value")
    ]
    return [field.attname for field in fields], converted


def _values(row: tuple[Any, ...], converted: list[tuple[int, FromDatabase]]) -> list[Any]:
    values = list(row)
    for place, read in converted:
        values[place] = read(values[place], None, connection)
    return values
