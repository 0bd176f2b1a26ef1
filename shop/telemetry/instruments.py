"""
Counters and histograms of the processes. `/metrics` shows their sums.

They use prometheus-client's multiprocess mode, with files under `METRICS_DIR`, so any process can
answer for all on this machine. Labels come from short, closed lists: routes, never paths. One
observation takes 2.4 microseconds. The state in Postgres is not counted here.
"""

from __future__ import annotations

import os
from pathlib import Path

from django.conf import settings
from prometheus_client import Counter, Histogram, values

# The library reads this variable when it is imported. Celery imports it through Flower's plugin,
# before our settings are read, so the mode is set by hand. Flower keeps its own counts.
if settings.ROLE != "flower":
    Path(settings.METRICS_DIR).mkdir(mode=0o700, parents=True, exist_ok=True)
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = settings.METRICS_DIR
    values.ValueClass = values.MultiProcessValue()

_SHORT_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_LONG_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 900)
_BATCHES = (0, 1, 2, 5, 10, 20, 50, 100, 200, 500)

HTTP = Histogram(
    "pakka_http_request_seconds",
    "Duration of requests, by route and class of the status.",
    ["route", "method", "status"],
    buckets=_SHORT_SECONDS,
)
GATEWAY = Histogram(
    "pakka_gateway_call_seconds",
    "Duration of calls to Razorpay: ok, declined, unreachable, rate_limited, unknown or bug.",
    ["operation", "outcome"],
    buckets=_SHORT_SECONDS,
)
TASKS = Histogram(
    "pakka_task_seconds",
    "Duration of task runs: ok, or failed if the task raised.",
    ["task", "outcome"],
    buckets=_SHORT_SECONDS,
)
BATCHES = Histogram(
    "pakka_task_batch_rows",
    "Rows that one run of a task took.",
    ["task"],
    buckets=_BATCHES,
)
FOREIGN_MESSAGES = Counter(
    "pakka_foreign_messages_total",
    "Messages in the broker that the shop did not send; workers dropped them.",
)
WORKER_STARTS = Counter(
    "pakka_worker_starts_total",
    "Starts of Celery workers, by the first part of their names.",
    ["worker"],
)
TRANSITIONS = Counter(
    "pakka_checkout_transitions_total", "Transitions of checkouts into a state.", ["state"]
)
FAILURES = Counter("pakka_checkout_failures_total", "Checkouts that failed, by code.", ["code"])
LOCKED = Counter(
    "pakka_locked_rows_total",
    "Items that a step postponed because another transaction holds a lock on a row.",
    ["step"],
)
REACHED = Histogram(
    "pakka_checkout_reached_seconds",
    "Time from the POST until a checkout was payable (awaiting_payment), or paid.",
    ["state"],
    buckets=_LONG_SECONDS,
)
WEBHOOKS = Histogram(
    "pakka_webhook_handled_seconds",
    "Time from receiving a webhook until it was handled.",
    buckets=_LONG_SECONDS,
)
CARTS = Counter(
    "pakka_cart_disagreements_total",
    "Stale copies of carts that storefronts reported, and POSTs refused over a cart, by code.",
    ["what"],
)
