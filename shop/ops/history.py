"""
The history of a time range: how far checkouts came, how fast, and why they ended unpaid.

Each statement reads the rows of the range by an index on time. Where it must read them one by one,
it reads at most `MAX_READ`, and `is_capped` says so.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime

from shop.checkout.states import State
from shop.ops.ranges import Range
from shop.ops.rows import Row, select

MAX_READ = 50_000  # the latest rows of the range
MAX_SESSIONS = 20
SAMPLED_EVENTS = 200  # webhooks whose body is read
SHARES = (0.5, 0.95, 0.99)

ENTERED = {
    State.AWAITING_PAYMENT: "payable",
    State.PAID: "paid",
    State.FAILED: "failed",
    State.EXPIRED: "expired",
    State.CANCELLED: "cancelled",
}
SERIES = ("started", *ENTERED.values())
ENDED = ("paid", "failed", "expired", "cancelled")


def _bucket(column: str) -> str:
    """SQL for the number of the bucket, from 0; with the values `since` and `width` (seconds)."""
    return f"floor(extract(epoch FROM {column} - %(since)s::timestamptz) / %(width)s)::int"


def _values(span: Range, **more: object) -> dict[str, object]:
    width = span.bucket.total_seconds()
    return {"since": span.since, "until": span.until, "width": width, **more}


# --- checkouts -----------------------------------------------------------------------------------

# What became of the checkouts that started in the range. One that was payable has `expires_at`.
_STARTED = f"""
    SELECT {_bucket("created_at")} AS bucket, count(*) AS started, count(expires_at) AS payable,
           count(*) FILTER (WHERE state = 'paid') AS paid,
           count(*) FILTER (WHERE state IN ('expired', 'cancelled') AND expires_at IS NOT NULL)
               AS abandoned,
           count(*) FILTER (WHERE state = 'failed') AS failed
    FROM shop_checkoutjob
    WHERE created_at >= %(since)s AND created_at < %(until)s
    GROUP BY 1
"""
_ENTERED = f"""
    SELECT {_bucket("at")} AS bucket, new, count(*) AS transitions
    FROM shop_transition WHERE at >= %(since)s AND at < %(until)s AND new = ANY(%(states)s)
    GROUP BY 1, 2
"""


def checkouts(span: Range) -> Row:
    """Series by bucket, their sums, the share of ended checkouts that were paid, and the funnel."""
    series = {name: [0] * len(span.starts) for name in SERIES}
    started = select(_STARTED, _values(span))
    for row in started:
        series["started"][row["bucket"]] = row["started"]
    for row in select(_ENTERED, _values(span, states=[state.value for state in ENTERED])):
        series[ENTERED[State(row["new"])]][row["bucket"]] = row["transitions"]
    totals = {name: sum(values) for name, values in series.items()}
    ended = sum(totals[name] for name in ENDED)
    return {
        "series": series,
        "totals": totals,
        "ended": ended,
        "success": share(totals["paid"], ended),
        "failure": share(totals["failed"], ended),
        "funnel": _funnel(started),
    }


def _funnel(started: Iterable[Row]) -> Row:
    """The checkouts that started in the range, whenever they reached the later stages."""
    steps = ("started", "payable", "paid", "abandoned", "failed")
    sums = dict.fromkeys(steps, 0)
    for row in started:
        for step in steps:
            sums[step] += row[step]
    return sums | {
        "payable_of_started": share(sums["payable"], sums["started"]),
        "paid_of_payable": share(sums["paid"], sums["payable"]),
        "paid_of_started": share(sums["paid"], sums["started"]),
        "abandoned_of_payable": share(sums["abandoned"], sums["payable"]),
    }


def share(part: int, whole: int) -> float | None:
    """None if `whole` is 0."""
    return part / whole if whole else None


_REASONS = """
    SELECT last.new AS ended, CASE last.new
               WHEN 'failed' THEN job.error_code ELSE last.because END AS reason,
           count(*) AS checkouts
    FROM (
        SELECT job_id, new, because FROM shop_transition
        WHERE at >= %(since)s AND at < %(until)s AND new IN ('failed', 'cancelled', 'expired')
        ORDER BY at DESC LIMIT %(max)s
    ) AS last JOIN shop_checkoutjob job ON job.id = last.job_id
    GROUP BY 1, 2
    UNION ALL
    SELECT 'payment failed', coalesce(nullif(error_code, ''), 'unknown'), count(*)
    FROM shop_payment
    WHERE created_at >= %(since)s AND created_at < %(until)s AND status = 'failed'
    GROUP BY 2
    ORDER BY 3 DESC, 1, 2 LIMIT 30
"""


def reasons(span: Range) -> list[Row]:
    """Why checkouts ended unpaid, and why payments failed; the most frequent first."""
    return select(_REASONS, _values(span, max=MAX_READ))


_TIMES = f"""
    SELECT bucket, count(*) AS checkouts, percentile_cont(%(shares)s::float8[]) WITHIN GROUP (
               ORDER BY extract(epoch FROM reached.at - job.created_at)::float8) AS seconds
    FROM (
        SELECT job_id, at, {_bucket("at")} AS bucket FROM shop_transition
        WHERE at >= %(since)s AND at < %(until)s AND new = %(state)s
        ORDER BY at DESC LIMIT %(max)s
    ) AS reached JOIN shop_checkoutjob job ON job.id = reached.job_id
    GROUP BY GROUPING SETS ((bucket), ())
"""


def times(span: Range) -> Row:
    """Seconds from the POST until payable, and until paid: percentiles of all and by bucket."""
    return {
        "payable": _times(span, State.AWAITING_PAYMENT),
        "paid": _times(span, State.PAID),
    }


def _times(span: Range, state: State) -> Row:
    rows = select(_TIMES, _values(span, shares=list(SHARES), state=state.value, max=MAX_READ))
    found = {row["bucket"]: row for row in rows if row["checkouts"]}
    none = {"checkouts": 0, "seconds": [None] * len(SHARES)}
    whole = found.pop(None, none)
    by_bucket = [found.get(n, none)["seconds"] for n in range(len(span.starts))]
    return {
        "checkouts": whole["checkouts"],
        "is_capped": whole["checkouts"] >= MAX_READ,
        **dict(zip(("p50", "p95", "p99"), whole["seconds"], strict=True)),
        "series": {
            "p50": [seconds[0] for seconds in by_bucket],
            "p95": [seconds[1] for seconds in by_bucket],
        },
    }


# --- webhooks ------------------------------------------------------------------------------------

_LAG = """
    SELECT count(*) AS received, count(handled_at) AS handled,
           percentile_cont(%(shares)s::float8[]) WITHIN GROUP (
               ORDER BY extract(epoch FROM handled_at - received_at)::float8) AS handling,
           max(extract(epoch FROM handled_at - received_at)::float8) AS longest
    FROM (
        SELECT received_at, handled_at FROM shop_inboxevent
        WHERE received_at >= %(since)s AND received_at < %(until)s
        ORDER BY received_at DESC LIMIT %(max)s
    ) AS event
"""
_SAMPLE = """
    SELECT received_at, body FROM shop_inboxevent
    WHERE received_at >= %(since)s AND received_at < %(until)s
    ORDER BY received_at DESC LIMIT %(sampled)s
"""
_CAPTURED = """
    SELECT captured_via AS via, count(*) AS payments FROM shop_payment
    WHERE captured_at >= %(since)s AND captured_at < %(until)s GROUP BY 1
"""


def webhooks(span: Range) -> Row:
    """The delays of webhooks, and how many captures were found by polling instead (`missed`)."""
    values = _values(span, shares=list(SHARES), max=MAX_READ, sampled=SAMPLED_EVENTS)
    [lag] = select(_LAG, values)
    handling = lag["handling"] or [None] * len(SHARES)
    delivery = sorted(_delivery_seconds(select(_SAMPLE, values)))
    captured = {row["via"]: row["payments"] for row in select(_CAPTURED, values)}
    return {
        "received": lag["received"],
        "handled": lag["handled"],
        "handling_p50": handling[0],
        "handling_p95": handling[1],
        "handling_longest": lag["longest"],
        "delivery_p50": _percentile(delivery, 0.5),
        "delivery_p95": _percentile(delivery, 0.95),
        "captured_by_webhook": captured.get("webhook", 0),
        "missed": captured.get("fetch", 0),
    }


def _delivery_seconds(events: Iterable[Row]) -> Iterable[float]:
    """From the event's own `created_at` until it was received, where its body has one."""
    for event in events:
        try:
            sent_at = datetime.fromtimestamp(json.loads(bytes(event["body"]))["created_at"], UTC)
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
            continue
        yield max((event["received_at"] - sent_at).total_seconds(), 0.0)


def _percentile(ordered: list[float], wanted: float) -> float | None:
    return ordered[int(wanted * (len(ordered) - 1))] if ordered else None


# --- carts ---------------------------------------------------------------------------------------

# Refusals are shown as "refused:<code>", beside the kinds that storefronts report.
_KIND = "CASE WHEN is_refusal THEN 'refused:' || kind ELSE kind END"
_SYNC = f"""
    SELECT {_KIND} AS kind, is_refusal, {_bucket("at")} AS bucket, count(*) AS events
    FROM shop_syncevent WHERE at >= %(since)s AND at < %(until)s GROUP BY 1, 2, 3
"""
_CARTS = """
    SELECT count(*) AS active, count(*) FILTER (WHERE is_guest) AS of_guests,
           count(*) FILTER (WHERE is_filled) AS filled,
           count(*) FILTER (WHERE is_posted) AS posted,
           count(*) FILTER (WHERE age < interval '1 hour') AS within_hour,
           count(*) FILTER (WHERE age >= interval '1 hour' AND age < interval '1 day')
               AS within_day,
           count(*) FILTER (WHERE age >= interval '1 day') AS older
    FROM (
        SELECT owner.is_guest, %(until)s::timestamptz - cart.created_at AS age,
               EXISTS (SELECT FROM shop_cartitem item WHERE item.cart_id = cart.id) AS is_filled,
               EXISTS (
                   SELECT FROM shop_checkoutjob job
                   WHERE job.owner_id = cart.owner_id AND job.created_at >= %(since)s
               ) AS is_posted
        FROM (
            SELECT * FROM shop_cart WHERE updated_at >= %(since)s AND updated_at < %(until)s
            LIMIT %(max)s
        ) AS cart JOIN shop_user owner ON owner.id = cart.owner_id
    ) AS seen
"""
# The sessions whose storefront showed another cart than the server, the latest first.
_SESSIONS = f"""
    SELECT event.owner_id AS session, owner.is_guest, cart.id AS cart, event.stale, event.refused,
           event.last_kind, event.last_at, cart.created_at, cart.updated_at,
           (SELECT coalesce(sum(quantity), 0) FROM shop_cartitem WHERE cart_id = cart.id) AS units,
           (
               SELECT state FROM shop_checkoutjob job WHERE job.owner_id = event.owner_id
               ORDER BY created_at DESC LIMIT 1
           ) AS checkout
    FROM (
        SELECT owner_id, max(at) AS last_at, (array_agg(kind ORDER BY at DESC))[1] AS last_kind,
               count(*) FILTER (WHERE NOT is_refusal) AS stale,
               count(*) FILTER (WHERE is_refusal) AS refused
        FROM (
            SELECT owner_id, {_KIND} AS kind, is_refusal, at FROM shop_syncevent
            WHERE at >= %(since)s AND at < %(until)s ORDER BY at DESC LIMIT %(max)s
        ) AS latest GROUP BY owner_id ORDER BY last_at DESC LIMIT %(sessions)s
    ) AS event
    JOIN shop_user owner ON owner.id = event.owner_id
    LEFT JOIN shop_cart cart ON cart.owner_id = event.owner_id
    ORDER BY event.last_at DESC
"""


def carts(span: Range) -> Row:
    """Carts in use, how many were posted, and sessions whose storefront showed another cart."""
    values = _values(span, max=MAX_READ, sessions=MAX_SESSIONS)
    kinds: Counter[str] = Counter()
    series = {"stale": [0] * len(span.starts), "refused": [0] * len(span.starts)}
    for row in select(_SYNC, values):
        kinds[row["kind"]] += row["events"]
        name = "refused" if row["is_refusal"] else "stale"
        series[name][row["bucket"]] += row["events"]
    [seen] = select(_CARTS, values)
    return {
        **seen,
        "posted_of_active": share(seen["posted"], seen["active"]),
        "is_capped": seen["active"] >= MAX_READ,
        "empty_attempts": kinds["refused:cart_empty"],
        "changed_attempts": kinds["refused:cart_changed"],
        "stale_reports": sum(series["stale"]),
        "series": series,
        "sessions": select(_SESSIONS, values),
    }
