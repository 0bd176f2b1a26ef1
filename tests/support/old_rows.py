"""
Fill the tables with old rows: many copies of all rows of one paid checkout.

The database makes the copies, with negative ids and dates over the last ninety days. Columns that a
later schema adds are copied unchanged.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import psycopg

DAYS = 90
CHECKOUTS_PER_BUYER = 10

# `n` counts the copies from 1, `line` the template's rows in the table; `buyer` is that of copy n.
_JOB_ID = "md5('old ' || n)::uuid"
_COPIES: dict[str, tuple[str, dict[str, str]]] = {
    # table: (which of its rows belong to the template, what differs from copy to copy)
    "shop_order": ("id = %(order_id)s", {
        "id": "-n", "number": "'OLD-' || n", "owner_id": "buyer", "paid_by": "'pay_old' || n",
    }),
    "shop_orderline": ("order_id = %(order_id)s", {"id": "-(n * 10 + line)", "order_id": "-n"}),
    "shop_checkoutjob": ("id = %(job_id)s", {
        "id": _JOB_ID, "owner_id": "buyer", "cart_id": "buyer", "order_id": "-n",
    }),
    "shop_transition": ("job_id = %(job_id)s", {"id": "-(n * 10 + line)", "job_id": _JOB_ID}),
    "shop_idempotencykey": ("job_id = %(job_id)s", {
        "id": "-n", "owner_id": "buyer", "key": "'old' || n", "job_id": _JOB_ID,
    }),
    "shop_gatewayorder": ("order_id = %(order_id)s AND NOT is_duplicate", {
        "id": "-n", "order_id": "-n", "gateway_order_id": "'order_old' || n",
        # One in twenty has polls left over the next days.
        "poll_at": "CASE WHEN n %% 20 = 0 THEN now() + random() * interval '5 days' END",
    }),
    "shop_payment": ("gateway_order_id = %(gateway_order_id)s", {
        "id": "-n", "gateway_order_id": "-n", "gateway_payment_id": "'pay_old' || n",
    }),
    "shop_inboxevent": ("gateway_event_id = 'evt_' || %(payment_id)s", {
        "id": "-n", "gateway_event_id": "'evt_old' || n", "gateway_order_id": "'order_old' || n",
    }),
}  # fmt: skip
_BUYERS: dict[str, tuple[str, dict[str, str]]] = {
    "shop_user": ("id = %(owner_id)s", {"id": "-n"}),
    "shop_cart": ("owner_id = %(owner_id)s", {"id": "-n", "owner_id": "-n"}),
}

_TEMPLATE = """
    SELECT job.id AS job_id, job.owner_id, job.order_id, remote.id AS gateway_order_id,
           payment.gateway_payment_id AS payment_id
    FROM shop_checkoutjob job
    JOIN shop_gatewayorder remote ON remote.order_id = job.order_id AND NOT remote.is_duplicate
    JOIN shop_payment payment ON payment.gateway_order_id = remote.id
    JOIN shop_inboxevent event ON event.gateway_event_id = 'evt_' || payment.gateway_payment_id
    WHERE job.state = 'paid' LIMIT 1
"""


def grow(database_url: str, *, checkouts: int) -> None:
    """:raises LookupError: there is no paid checkout to copy."""
    buyers = max(1, checkouts // CHECKOUTS_PER_BUYER)
    with psycopg.connect(database_url, row_factory=psycopg.rows.dict_row) as database:
        template = database.execute(_TEMPLATE).fetchone()
        if template is None:
            raise LookupError("nothing to copy: no checkout has been paid by a webhook")
        # Skip foreign-key checks: the copies are consistent by construction.
        database.execute("SET session_replication_role = replica")
        for table, (which, changes) in _BUYERS.items():
            _copy(database, table, which, changes, template, copies=buyers, buyers=buyers)
        for table, (which, changes) in _COPIES.items():
            _copy(database, table, which, changes, template, copies=checkouts, buyers=buyers)


def _copy(
    database: psycopg.Connection[Any],
    table: str,
    which: str,
    changes: Mapping[str, str],
    template: Mapping[str, object],
    *,
    copies: int,
    buyers: int,
) -> None:
    columns = database.execute(
        "SELECT column_name, data_type FROM information_schema.columns"
        " WHERE table_schema = 'public' AND table_name = %s AND is_generated = 'NEVER'",
        [table],
    ).fetchall()
    values = {
        column["column_name"]: changes.get(column["column_name"])
        or _aged(column["column_name"], column["data_type"], copies)
        for column in columns
    }
    made = database.execute(
        f"""
        INSERT INTO {table} ({", ".join(values)})
        SELECT {", ".join(values.values())}
        FROM (SELECT *, row_number() OVER () AS line FROM {table} WHERE {which}) AS template,
             LATERAL (SELECT n, -(1 + n %% {buyers}) AS buyer
                      FROM generate_series(1, {copies}) AS n) AS copy
        """,
        template,
    ).rowcount
    if made < copies:
        raise LookupError(f"{table}: {made} rows copied, at least {copies} expected")


def _aged(column: str, data_type: str, copies: int) -> str:
    if data_type != "timestamp with time zone":
        return f"template.{column}"
    return f"template.{column} - n * interval '{DAYS * 86400 / copies} seconds'"
