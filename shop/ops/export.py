"""The figures of the operations page as CSV, for spreadsheets."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import zip_longest
from typing import Any

from shop.ops.rows import Row

# Excel, LibreOffice and Google Sheets run a cell that begins so as a formula.
FORMULAS = ("=", "+", "-", "@", "\t", "\r")


def cell(value: Any) -> Any:
    """The value for a spreadsheet. A text that would be a formula gets a quote before it."""
    if isinstance(value, datetime):
        return value.isoformat(timespec="seconds")
    if isinstance(value, float):
        return round(value, 3)
    if isinstance(value, str) and value.startswith(FORMULAS):
        return f"'{value}"
    return value


def to_csv(header: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(header)
    writer.writerows([cell(value) for value in row] for row in rows)
    return text.getvalue()


def series(found: Row) -> str:
    """One row for each bucket of the range: checkouts, times, stale carts."""
    span = found["span"]
    columns: dict[str, Sequence[Any]] = {
        "from": [datetime.fromtimestamp(start, UTC) for start in span["starts"]],
        "bucket_seconds": [span["bucket_seconds"]] * len(span["starts"]),
        **(span["checkouts"] or {"series": {}})["series"],
    }
    for reached, part in (span["times"] or {}).items():
        columns |= {f"{reached}_{p}_seconds": values for p, values in part["series"].items()}
    for name, values in (span["carts"] or {"series": {}})["series"].items():
        columns[f"carts_{name}"] = values
    return to_csv(columns, zip_longest(*columns.values()))


def figures(found: Row) -> str:
    """One row for each single figure of the page, with its name in the page's JSON."""
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


def _table(rows: Callable[[Row], Iterable[Row] | None], columns: str) -> Callable[[Row], str]:
    names = columns.split()
    return lambda found: to_csv(names, ([row[name] for name in names] for row in rows(found) or ()))


EXPORTS: Mapping[str, Callable[[Row], str]] = {
    "series": series,
    "figures": figures,
    "steps": _table(lambda found: found["current"]["steps"], "step waiting due oldest_due_at"),
    "money": _table(_money, "what kind count oldest_at"),
    "stock": _table(lambda found: found["current"]["stock"]["top"], "sku name held on_hand"),
    "stuck": _table(
        lambda found: found["current"]["stuck"]["rows"],
        "checkout order state reason attempts due_at created_at last_error",
    ),
    "reasons": _table(lambda found: found["span"]["reasons"], "ended reason checkouts"),
    "carts": _table(
        lambda found: (found["span"]["carts"] or {}).get("sessions"),
        "session is_guest cart units stale refused last_kind last_at"
        " created_at updated_at checkout",
    ),
}
