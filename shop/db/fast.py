"""
Rows by a hand-written tail of a statement, for what is asked at every step of every checkout.

Django builds each query anew: 0.25 ms and more of CPU, where Postgres answers a prepared one in
0.05. That was half of what a worker did (docs/decisions/speed.md). Everywhere else, use querysets.

Many rows go to Postgres as one JSON text, which it takes apart with `json_to_recordset`: an array
for each column cost psycopg a millisecond for a single row.
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
    Instances of `model`, all columns, by what follows its name in the statement.

    `select(Variant, "WHERE id = ANY(%s) ORDER BY id", [ids])`; the table's name is its alias.
    """
    return returning(model, f"SELECT {columns(model)} FROM {model._meta.db_table} {tail}", params)


def returning(model: type[Row], statement: str, params: Sequence[Any]) -> list[Row]:
    """Instances of `model`, from a whole statement that gives back `columns(model)`."""
    return [row for row, _ in beside(model, statement, params)]


def beside(
    model: type[Row], statement: str, params: Sequence[Any]
) -> list[tuple[Row, tuple[Any, ...]]]:
    """Instances of `model`, each with what the statement gives back after `columns(model)`."""
    names, converted = _shape(model)
    with connection.cursor() as cursor:
        cursor.execute(statement, params)
        found = cursor.fetchall()
    own = len(names)
    return [
        (model.from_db(connection.alias, names, _values(row[:own], converted)), row[own:])
        for row in found
    ]


def insert(model: type[Row], instances: Sequence[Row]) -> Sequence[Row]:
    """Write new rows in one statement, in their order; each instance gets its key."""
    if not instances:
        return instances
    statement = f"{insertion(model)} RETURNING {model._meta.pk.column}"
    with connection.cursor() as cursor:
        cursor.execute(statement, [as_json(values(instance) for instance in instances)])
        for instance, (key,) in zip(instances, cursor.fetchall(), strict=True):
            instance.pk = key
            instance._state.adding = False  # noqa: SLF001 - as Django's own bulk_create does
            instance._state.db = connection.alias  # noqa: SLF001
    return instances


@cache
def insertion(model: type[models.Model], *, rows: str = "json_to_recordset") -> str:
    """
    An INSERT of rows that come as JSON (`as_json` of their `values`), without its RETURNING. Of one
    row that comes by itself (`as_json_object`) with `json_to_record`.
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
    """What the row of a new instance holds, by column; without a key that Postgres makes."""
    return {column: getattr(instance, name) for column, name in _written(type(instance))}


def as_json(records: Iterable[Mapping[str, Any]]) -> str:
    """Records as one parameter, for `json_to_recordset`; JSON's null is read as SQL's."""
    return orjson.dumps(list(records)).decode()


def as_json_object(record: Mapping[str, Any]) -> str:
    return orjson.dumps(record).decode()


def array(ids: Iterable[int | UUID]) -> str:
    """Ids as Postgres spells an array, for `= ANY(%s)`. psycopg's own way takes long."""
    return f"{{{','.join(map(str, ids))}}}"


@cache
def _written(model: type[models.Model]) -> list[tuple[str, str]]:
    """(column, attribute) of each field that a new row is given."""
    return [(str(field.column), field.attname) for field in _given_fields(model)]


def _given_fields(model: type[models.Model]) -> list[Any]:
    return [
        field for field in model._meta.concrete_fields if not isinstance(field, models.AutoField)
    ]


@cache
def columns(model: type[models.Model]) -> str:
    """All columns of the model's table, as a statement lists them; never a star, which may grow."""
    table = model._meta.db_table
    return ", ".join(f"{table}.{field.column}" for field in model._meta.concrete_fields)


@cache
def _shape(model: type[models.Model]) -> tuple[list[str], list[tuple[int, FromDatabase]]]:
    """The fields' names in the order of `columns`, and those whose values need reading: JSON."""
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
