"""Claims rows that are due. Each table has a column that says when."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, TypeVar

from django.conf import settings
from django.db.models import Model, QuerySet

Row = TypeVar("Row", bound=Model)


def claim(rows: QuerySet[Row], column: str, *, limit: int, now: datetime, **more: Any) -> list[Row]:
    """
    Take up to `limit` of `rows` whose time in `column` has come, the earliest first. Call inside a
    transaction.

    They are due again after `CLAIM_SECONDS`, if the worker dies; `more` are further columns to set.
    Rows that another transaction has locked are skipped, so workers never wait for each other.
    """
    due = rows.filter(**{f"{column}__lte": now}).order_by(column)
    claimed = list(due.select_for_update(skip_locked=True, no_key=True, of=("self",))[:limit])
    until = now + timedelta(seconds=settings.CLAIM_SECONDS)
    QuerySet(rows.model).filter(pk__in=[row.pk for row in claimed]).update(
        **{column: until}, **more
    )
    for row in claimed:
        setattr(row, column, until)
    return claimed
