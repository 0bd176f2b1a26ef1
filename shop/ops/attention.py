"""The list at the top of the operations page: what a person should look at now. Pure."""

from __future__ import annotations

from shop.ops.rows import Row

MANY_REFUSED = 20  # in 15 minutes, as in the alert PakkaHoldsRefused


def attention(found: Row) -> list[Row]:
    """What needs a person, the most severe first; empty if nothing does."""
    failed = sum(row["count"] for row in found["refunds"]["rows"] if row["status"] == "failed")
    open_cases = sum(row["count"] for row in found["cases"]["rows"])
    webhooks, breaker = found["webhooks"], found["breaker"]
    unhandled, stuck = webhooks["dead_or_unreadable"], found["stuck"]["count"]
    lapsed, refused = found["stock"]["lapsed_holds"], found["stock"]["refused_15m"]
    entries = [
        (open_cases, "bad", _counted(open_cases, "open case"), found["cases"]["link"]),
        (failed, "bad", _counted(failed, "failed refund"), found["refunds"]["link"]),
        (
            unhandled,
            "bad",
            f"{_counted(unhandled, 'webhook')} dead or unreadable",
            webhooks["link"],
        ),
        (
            webhooks["are_missing"],
            "bad",
            "No webhooks arrive: check the endpoint in Razorpay's dashboard",
            "#webhooks",
        ),
        *(
            (True, "bad", f"No recent heartbeat of {row['name']}", row["link"])
            for row in found["heartbeats"]
            if row["is_late"]
        ),
        (stuck, "warn", f"{_counted(stuck, 'checkout')} stuck", "#stuck"),
        (lapsed, "warn", f"{_counted(lapsed, 'hold')} past the end", "#stock"),
        (
            refused > MANY_REFUSED,
            "warn",
            f"{_counted(refused, 'checkout')} refused because too many units are held unpaid",
            "#stock",
        ),
        (
            breaker["state"] != "closed",
            "warn",
            f"Razorpay: the circuit breaker is {breaker['state'].replace('_', '-')}",
            "#gateway",
        ),
        *(
            (True, "warn", f"Retention of {row['rule']} fails: {row['error']}", "")
            for row in found["retention"]
        ),
        (
            found["queues"] is None,
            "warn",
            "Redis is unavailable: new checkouts wait until it is back",
            "#queues",
        ),
    ]
    return [
        {"level": level, "text": text, "link": link}
        for applies, level, text, link in entries
        if applies
    ]


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
