"""
Measure periodic work and staff lists on large tables: retention rules, admin lists, the claim of
due polls. Their cost must not depend on the size of the tables.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

from tests.bench.report import Figure
from tests.bench.shops import BenchError

RETENTION_MS = 500  # a run of one rule, over the rows of a busy minute
LIST_MS = 300
CLAIM_MS = 50
YEARS = timedelta(days=4000)  # older than every rule keeps a row

# Lists as staff open them: (title, the list, its query).
LISTS = (
    ("checkouts of the last day", "checkoutjob", {}),
    ("checkouts of the last week", "checkoutjob", {"age": "week"}),
    ("checkouts paid", "checkoutjob", {"state__exact": "paid"}),
    ("checkouts in review", "checkoutjob", {"state__exact": "in_review"}),
    ("checkouts expired", "checkoutjob", {"state__exact": "expired"}),
    ("checkouts stuck", "checkoutjob", {"stuck": "yes"}),
    ("checkouts that failed: out of stock", "checkoutjob", {"error_code__exact": "out_of_stock"}),
    ("checkout by pay_…", "checkoutjob", {"q": "{payment}"}),
    ("checkout by order_…", "checkoutjob", {"q": "{remote}"}),
    ("checkout by number", "checkoutjob", {"q": "{number}"}),
    ("checkout by id", "checkoutjob", {"q": "{checkout}"}),
    ("checkout by e-mail", "checkoutjob", {"q": "nobody@example.com"}),
    ("orders", "order", {}),
    ("orders held", "order", {"stock_state__exact": "held"}),
    ("order by number", "order", {"q": "{number}"}),
    ("order by pay_…", "order", {"q": "{payment}"}),
    ("payments", "payment", {}),
    ("payments authorised", "payment", {"status__exact": "authorized"}),
    ("payments captured by polls", "payment", {"captured_via__exact": "fetch"}),
    ("payment by pay_…", "payment", {"q": "{payment}"}),
    ("payment by order_…", "payment", {"q": "{remote}"}),
    ("Razorpay order by number", "gatewayorder", {"q": "{number}"}),
    ("refund by pay_…", "refund", {"q": "{payment}"}),
    ("refunds failed", "refund", {"status__exact": "failed"}),
    ("case by number", "case", {"q": "{number}"}),
    ("webhooks", "inboxevent", {}),
    ("webhooks dead", "inboxevent", {"became": "dead"}),
    ("webhooks that cannot be read", "inboxevent", {"became": "unreadable"}),
    ("webhook by order_…", "inboxevent", {"q": "{remote}"}),
    ("carts", "cart", {}),
    ("users", "user", {}),
    ("users who are staff", "user", {"is_staff__exact": "1"}),
    ("user by e-mail", "user", {"q": "nobody@example.com"}),
)  # fmt: skip


def upkeep(*, now: datetime) -> list[Figure]:
    """
    Do each twice and measure the second time. Retention and claims are rolled back.

    Uses the database of Django's settings. :raises BenchError: a list does not open.
    """
    return [*_retention(now=now), *_lists(), *_claim(now=now)]


def _retention(*, now: datetime) -> Iterator[Figure]:
    from shop.operations import retention

    for rule in retention.RULES:

        def run(rule: Any = rule) -> None:
            with _taken_back():
                retention._run_next_batch(rule, now=now + YEARS)

        yield _figure(f"retention of {rule.name}", run, bound_ms=RETENTION_MS)


def _lists() -> Iterator[Figure]:
    from django.conf import settings
    from django.test import Client
    from django.urls import reverse

    from shop.accounts import User
    from shop.checkout.jobs import CheckoutJob
    from shop.payments.ledger import GatewayOrder

    staff, _ = User.objects.get_or_create(
        email="bench@example.com", defaults={"is_staff": True, "is_superuser": True}
    )
    client = Client(headers={"host": settings.ALLOWED_HOSTS[0].replace("*", "localhost")})
    client.force_login(staff)
    remote = GatewayOrder.objects.filter(payments__isnull=False, is_duplicate=False).last()
    if remote is None:
        raise BenchError("no checkout has been paid")
    names = {
        "payment": remote.payments.get().gateway_payment_id,
        "remote": remote.gateway_order_id,
        "number": remote.order.number,
        "checkout": CheckoutJob.objects.get(order=remote.order_id).pk,
    }
    for title, table, query in LISTS:
        url = reverse(f"admin:shop_{table}_changelist")
        asked = {key: value.format(**names) for key, value in query.items()}

        def read(url: str = url, asked: dict[str, str] = asked) -> None:
            response = client.get(url, asked)
            if response.status_code != 200:
                raise BenchError(f"{url} {asked}: {response.status_code}")

        yield _figure(title, read, bound_ms=LIST_MS)


def _claim(*, now: datetime) -> Iterator[Figure]:
    from shop.payments import polling

    def claim() -> None:
        with _taken_back():
            polling.claim_due(limit=64, now=now + timedelta(days=2))

    yield _figure("claim of 64 due polls", claim, bound_ms=CLAIM_MS)


@contextmanager
def _taken_back() -> Iterator[None]:
    from django.db import transaction

    with transaction.atomic():
        yield
        transaction.set_rollback(True)


def _figure(title: str, work: Callable[[], None], *, bound_ms: int) -> Figure:
    for _ in range(2):
        began = time.perf_counter()
        work()
        took_ms = 1000 * (time.perf_counter() - began)
    return Figure(f"upkeep.{title}", title, "ms", took_ms, f"≤ {bound_ms}", took_ms <= bound_ms)
