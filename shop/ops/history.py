"""
What happened in a stretch of time: how many checkouts came how far, how fast, and why not.

Every statement is bounded by the range, on an index by time, and by a cap where it has to look at
the rows one by one; what was capped says so.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime

from shop.carts import REFUSED
from shop.checkout.states import State
from shop.ops.ranges import Range
from shop.ops.rows import Row, select

MAX_TIMED = 50_000  # checkouts whose times are looked at, the latest ones
MAX_SESSIONS = 20
SAMPLED_EVENTS = 200  # webhooks of which the body is read
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
    """In which bucket a time lies, counted from 0; takes the start and the width in seconds."""
    return f"floor(extract(epoch FROM {column} - %(since)s::timestamptz) / %(width)s)::int"


def _values(span: Range, **more: object) -> dict[str, object]:
    width = span.bucket.total_seconds()
    return {"since": span.since, "until": span.until, "width": width, **more}


# --- checkouts -----------------------------------------------------------------------------------

# What became of those that started in the range. Payable once means: `expires_at` is set.
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
_MOVED = f"""
    SELECT {_bucket("at")} AS bucket, new, count(*) AS moves
    FROM shop_transition WHERE at >= %(since)s AND at < %(until)s AND new = ANY(%(states)s)
    GROUP BY 1, 2
"""


def checkouts(span: Range) -> Row:
    """Series by bucket, the sums, how many of those that ended were paid, and the funnel."""
    buckets = len(span.starts)
    series = {name: [0] * buckets for name in SERIES}
    started = select(_STARTED, _values(span))
    for row in started:
        series["started"][row["bucket"]] = row["started"]
    for row in select(_MOVED, _values(span, states=[state.value for state in ENTERED])):
        series[ENTERED[State(row["new"])]][row["bucket"]] = row["moves"]
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
    """Of the checkouts that started in the range, whenever the rest happened to them."""
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
    """None of nothing."""
    return part / whole if whole else None


_REASONS = """
    SELECT move.new AS ended, CASE move.new
               WHEN 'failed' THEN job.error_code ELSE move.because END AS reason,
           count(*) AS checkouts
    FROM (
        SELECT job_id, new, because FROM shop_transition
        WHERE at >= %(since)s AND at < %(until)s AND new IN ('failed', 'cancelled', 'expired')
        ORDER BY at DESC LIMIT %(most)s
    ) AS move JOIN shop_checkoutjob job ON job.id = move.job_id
    GROUP BY 1, 2
    UNION ALL
    SELECT 'payment failed', coalesce(nullif(error_code, ''), 'unknown'), count(*)
    FROM shop_payment
    WHERE created_at >= %(since)s AND created_at < %(until)s AND status = 'failed'
    GROUP BY 2
    ORDER BY 3 DESC, 1, 2 LIMIT 30
"""


def reasons(span: Range) -> list[Row]:
    """Why checkouts ended unpaid, and why payments failed, the most frequent first."""
    return select(_REASONS, _values(span, most=MAX_TIMED))


_TIMES = f"""
    SELECT bucket, count(*) AS checkouts, percentile_cont(%(shares)s::float8[]) WITHIN GROUP (
               ORDER BY extract(epoch FROM reached.at - job.created_at)::float8) AS seconds
    FROM (
        SELECT job_id, at, {_bucket("at")} AS bucket FROM shop_transition
        WHERE at >= %(since)s AND at < %(until)s AND new = %(state)s
        ORDER BY at DESC LIMIT %(most)s
    ) AS reached JOIN shop_checkoutjob job ON job.id = reached.job_id
    GROUP BY GROUPING SETS ((bucket), ())
"""


def times(span: Range) -> Row:
    """From the POST until payable, and until paid: percentiles of all and of each bucket."""
    return {name: _times(span, state) for state, name in _TIMED.items()}


_TIMED = {State.AWAITING_PAYMENT: "payable", State.PAID: "paid"}


def _times(span: Range, state: State) -> Row:
    most = MAX_TIMED
    rows = select(_TIMES, _values(span, shares=list(SHARES), state=state.value, most=most))
    found = {row["bucket"]: row for row in rows if row["checkouts"]}
    whole = found.pop(None, {"checkouts": 0, "seconds": [None] * len(SHARES)})
    p50, p95, p99 = whole["seconds"]
    of_buckets = [found[n]["seconds"] if n in found else (None,) * 3 for n in _numbers(span)]
    return {
        "checkouts": whole["checkouts"],
        "is_capped": whole["checkouts"] >= most,
        "p50": p50,
        "p95": p95,
        "p99": p99,
        "series": {
            "p50": [seconds[0] for seconds in of_buckets],
            "p95": [seconds[1] for seconds in of_buckets],
        },
    }


def _numbers(span: Range) -> range:
    return range(len(span.starts))


# --- webhooks ------------------------------------------------------------------------------------

_LAG = """
    SELECT count(*) AS received, count(handled_at) AS handled,
           percentile_cont(%(shares)s::float8[]) WITHIN GROUP (
               ORDER BY extract(epoch FROM handled_at - received_at)::float8) AS handling,
           max(extract(epoch FROM handled_at - received_at)::float8) AS longest
    FROM (
        SELECT received_at, handled_at FROM shop_inboxevent
        WHERE received_at >= %(since)s AND received_at < %(until)s
        ORDER BY received_at DESC LIMIT %(most)s
    ) AS event
"""
_SAMPLE = """
    SELECT received_at, body FROM shop_inboxevent
    WHERE received_at >= %(since)s AND received_at < %(until)s
    ORDER BY received_at DESC LIMIT %(sampled)s
"""
_HEARD = """
    SELECT captured_via AS via, count(*) AS payments FROM shop_payment
    WHERE captured_at >= %(since)s AND captured_at < %(until)s GROUP BY 1
"""


def webhooks(span: Range) -> Row:
    """How late events come and are handled, and how much money we heard of without one."""
    values = _values(span, shares=list(SHARES), most=MAX_TIMED, sampled=SAMPLED_EVENTS)
    [lag] = select(_LAG, values)
    handling = lag["handling"] or [None] * len(SHARES)
    on_the_way = sorted(_delays(select(_SAMPLE, values)))
    heard = {row["via"]: row["payments"] for row in select(_HEARD, values)}
    return {
        "received": lag["received"],
        "handled": lag["handled"],
        "handling_p50": handling[0],
        "handling_p95": handling[1],
        "handling_longest": lag["longest"],
        "delivery_p50": _percentile(on_the_way, 0.5),
        "delivery_p95": _percentile(on_the_way, 0.95),
        "captured_by_webhook": heard.get("webhook", 0),
        "missed": heard.get("fetch", 0),
    }


def _delays(events: Iterable[Row]) -> Iterable[float]:
    """Seconds between what an event says of its making and its coming, where it says so."""
    for event in events:
        try:
            made_at = datetime.fromtimestamp(json.loads(bytes(event["body"]))["created_at"], UTC)
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
            continue
        yield max((event["received_at"] - made_at).total_seconds(), 0.0)


def _percentile(ordered: list[float], wanted: float) -> float | None:
    return ordered[int(wanted * (len(ordered) - 1))] if ordered else None


# --- carts ---------------------------------------------------------------------------------------

_SYNC = f"""
    SELECT kind, {_bucket("at")} AS bucket, count(*) AS events
    FROM shop_syncevent WHERE at >= %(since)s AND at < %(until)s GROUP BY 1, 2
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
            LIMIT %(most)s
        ) AS cart JOIN shop_user owner ON owner.id = cart.owner_id
    ) AS seen
"""
# The sessions whose storefront and server disagreed, the latest first.
_SESSIONS = """
    SELECT event.owner_id AS session, owner.is_guest, cart.id AS cart, event.stale, event.refused,
           event.last_kind, event.last_at, cart.created_at, cart.updated_at,
           (SELECT coalesce(sum(quantity), 0) FROM shop_cartitem WHERE cart_id = cart.id) AS units,
           (
               SELECT state FROM shop_checkoutjob job WHERE job.owner_id = event.owner_id
               ORDER BY created_at DESC LIMIT 1
           ) AS checkout
    FROM (
        SELECT owner_id, max(at) AS last_at, (array_agg(kind ORDER BY at DESC))[1] AS last_kind,
               count(*) FILTER (WHERE NOT starts_with(kind, %(refused)s)) AS stale,
               count(*) FILTER (WHERE starts_with(kind, %(refused)s)) AS refused
        FROM (
            SELECT owner_id, kind, at FROM shop_syncevent
            WHERE at >= %(since)s AND at < %(until)s ORDER BY at DESC LIMIT %(most)s
        ) AS latest GROUP BY owner_id ORDER BY last_at DESC LIMIT %(sessions)s
    ) AS event
    JOIN shop_user owner ON owner.id = event.owner_id
    LEFT JOIN shop_cart cart ON cart.owner_id = event.owner_id
    ORDER BY event.last_at DESC
"""


def carts(span: Range) -> Row:
    """Carts in use, how many came to a POST, and where storefront and server disagreed."""
    values = _values(span, most=MAX_TIMED, refused=REFUSED, sessions=MAX_SESSIONS)
    kinds: defaultdict[str, int] = defaultdict(int)
    series = {"stale": [0] * len(span.starts), "refused": [0] * len(span.starts)}
    for row in select(_SYNC, values):
        kinds[row["kind"]] += row["events"]
        name = "refused" if row["kind"].startswith(REFUSED) else "stale"
        series[name][row["bucket"]] += row["events"]
    [seen] = select(_CARTS, values)
    return {
        **seen,
        "posted_of_active": share(seen["posted"], seen["active"]),
        "is_capped": seen["active"] >= MAX_TIMED,
        "empty_attempts": kinds.get(f"{REFUSED}cart_empty", 0),
        "changed_attempts": kinds.get(f"{REFUSED}cart_changed", 0),
        "stale_reports": sum(series["stale"]),
        "kinds": [
            {"kind": kind, "events": events}
            for kind, events in sorted(kinds.items(), key=lambda it: -it[1])
        ],
        "series": series,
        "sessions": select(_SESSIONS, values),
    }
