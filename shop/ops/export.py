"""The same figures as CSV, for spreadsheets, which take some texts for formulas."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from shop.ops.history import SERIES
from shop.ops.rows import Row

# A cell that begins so is run as a formula by Excel, LibreOffice and Google Sheets.
FORMULAS = ("=", "+", "-", "@", "\t", "\r")


def cell(value: Any) -> Any:
    """As a spreadsheet should read it. A text that would be a formula gets a quote before it."""
    if isinstance(value, datetime):
        return value.isoformat(timespec="seconds")
    if isinstance(value, float):
        return round(value, 3)
    if isinstance(value, str) and value.startswith(FORMULAS):
        return f"'{value}"
    return value


def to_csv(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(header)
    writer.writerows([cell(value) for value in row] for row in rows)
    return text.getvalue()


def series(found: Row) -> str:
    """A line for each bucket: checkouts, times, sync events."""
    span = found["span"]
    columns: dict[str, Sequence[Any]] = {
        name: (span["checkouts"] or {"series": {}})["series"].get(name, ()) for name in SERIES
    }
    for reached in ("payable", "paid"):
        for name, values in ((span["times"] or {}).get(reached) or {"series": {}})[
            "series"
        ].items():
            columns[f"{reached}_{name}_seconds"] = values
    for name, values in (span["carts"] or {"series": {}})["series"].items():
        columns[f"carts_{name}"] = values
    starts = [datetime.fromtimestamp(start, UTC) for start in span["starts"]]
    rows = [
        [start, span["bucket_seconds"], *(_at(values, n) for values in columns.values())]
        for n, start in enumerate(starts)
    ]
    return to_csv(["from", "bucket_seconds", *columns], rows)


def figures(found: Row) -> str:
    """A line for each single figure of the page, under the name that it has in its JSON."""
    current = found["current"]
    named: Row = {
        **{part: found["span"][part] for part in ("checkouts", "times", "webhooks", "carts")},
        "now": {part: current[part] for part in ("breaker", "webhooks", "stock")},
        "queue_messages": {row["queue"]: row["messages"] for row in current["queues"] or ()},
        "heartbeats": {row["name"]: row["at"] for row in current["heartbeats"]},
    }
    return to_csv(["figure", "value"], _flat("", named))


def _flat(prefix: str, named: Row) -> Iterable[tuple[str, Any]]:
    for name, value in named.items():
        if isinstance(value, dict):
            yield from _flat(f"{prefix}{name}.", value)
        elif not isinstance(value, list):
            yield f"{prefix}{name}", value


def _money(found: Row) -> list[Row]:
    current = found["current"]
    return [
        *({**row, "what": "refund", "kind": row["status"]} for row in current["refunds"]["rows"]),
        *({**row, "what": "case"} for row in current["cases"]["rows"]),
    ]


def _at(values: Sequence[Any], place: int) -> Any:
    return values[place] if place < len(values) else None


def _table(part: Callable[[Row], Iterable[Row] | None], *columns: str) -> Callable[[Row], str]:
    def table(found: Row) -> str:
        rows = part(found) or ()
        return to_csv(columns, ([row[column] for column in columns] for row in rows))

    return table


EXPORTS: Mapping[str, Callable[[Row], str]] = {
    "series": series,
    "figures": figures,
    "steps": _table(
        lambda found: found["current"]["steps"], "step", "waiting", "due", "oldest_due_at"
    ),
    "money": _table(_money, "what", "kind", "count", "oldest_at"),
    "stock": _table(
        lambda found: found["current"]["stock"]["top"], "sku", "name", "held", "on_hand"
    ),
    "stuck": _table(
        lambda found: found["current"]["stuck"]["rows"],
        *("checkout", "order", "state", "reason", "attempts", "due_at", "created_at"),
        "last_error",
    ),
    "reasons": _table(lambda found: found["span"]["reasons"], "ended", "reason", "checkouts"),
    "carts": _table(
        lambda found: (found["span"]["carts"] or {}).get("sessions"),
        *("session", "is_guest", "cart", "units", "stale", "refused", "last_kind", "last_at"),
        *("created_at", "updated_at", "checkout"),
    ),
}
