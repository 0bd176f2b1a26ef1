"""The rows that a checkout reads do not grow with the tables: no old rows are scanned."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

import pytest
from django.conf import settings
from django.db import connection
from psycopg.conninfo import make_conninfo

from shop.accounts import User
from shop.catalogue import Variant
from shop.checkout.jobs import CheckoutJob
from shop.checkout.steps.create_order import CREATE_ORDER
from shop.checkout.steps.create_razorpay_order import CreateRazorpayOrder
from shop.checkout.steps.reconcile_webhook import ReconcileWebhook
from shop.checkout.steps.validate_cart import VALIDATE_CART
from shop.payments import inbox
from shop.payments.ledger import GatewayOrder
from shop.payments.razorpay.client import RazorpayGateway
from tests.support.api import Caller, granted
from tests.support.events import event_body
from tests.support.old_rows import grow
from tests.support.shop import (
    fill_cart,
    make_buyer,
    make_variant,
    new_key,
    place_order,
    post_checkout,
    run,
    run_remote,
)
from tests.support.standin import StandIn

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("redis")]

OLD = 5_000
# The tables that grow with every checkout. Cart lines are deleted when they are bought.
TABLES = [
    f"shop_{name}"
    for name in (
        *("user", "cart", "checkoutjob", "idempotencykey", "transition"),
        *("order", "orderline", "gatewayorder", "payment", "inboxevent"),
    )
]


def buy(gateway: RazorpayGateway, standin: StandIn, *, now: datetime) -> None:
    """From the cart to paid, the last step by a webhook."""
    buyer = make_buyer(now=now)
    fill_cart(buyer, make_variant(), nearly_held_by_guests(now), now=now)
    job = post_checkout(buyer, key=new_key(), now=now, address_key=-1)
    run(VALIDATE_CART, now=now)
    run(CREATE_ORDER, now=now)
    run_remote(CreateRazorpayOrder(), gateway, now=now)
    remote = GatewayOrder.objects.get(order__checkout=job.pk)
    payment = standin.pay(remote.gateway_order_id)
    body = event_body("payment.captured", payment)
    inbox.receive(event_id=f"evt_{payment['id']}", body=body, now=now)
    run(ReconcileWebhook(), now=now)
    assert CheckoutJob.objects.get(pk=job.pk).state == "paid"


def nearly_held_by_guests(now: datetime) -> Variant:
    """Hold so many units that `create_order` counts those of guests."""
    variant = make_variant(on_hand=20)
    account = User.objects.create(email=f"{variant.sku}@example.com", created_at=now)
    for buyer in (account, make_buyer(now=now)):
        fill_cart(buyer, variant, quantity=8, now=now)
        job = place_order(post_checkout(buyer, now=now, address_key=-buyer.pk), now=now)
        CheckoutJob.objects.filter(pk=job.pk).update(due_at=None)  # the next batch is on its own
    return variant


@pytest.fixture
def old_rows(services, gateway, standin, now) -> None:
    buy(gateway, standin, now=now)
    of_tests = make_conninfo(services.superuser_url, dbname=connection.settings_dict["NAME"])
    grow(of_tests, checkouts=OLD)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")  # as autovacuum does


@contextmanager
def no_table_is_scanned() -> Iterator[None]:
    before = scanned()
    yield
    assert scanned() == before


def scanned() -> dict[str, int]:
    """Rows read by sequential scans, by table."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_stat_force_next_flush()")
        cursor.execute(
            "SELECT relname, seq_tup_read FROM pg_stat_user_tables WHERE relname = ANY(%s)",
            [TABLES],
        )
        found = dict(cursor.fetchall())
    assert len(found) == len(TABLES)
    return found


def test_a_post(old_rows):
    buyer = Caller.guest()
    buyer.add(make_variant())

    with no_table_is_scanned():
        granted(buyer.post_checkout(key=new_key()), 202)


def test_a_status_read(old_rows):
    buyer = Caller.guest()
    checkout = buyer.check_out()

    with no_table_is_scanned():
        buyer.status(checkout)


def test_workers(old_rows, gateway, standin, now):
    with connection.cursor() as cursor:
        for setting in re.findall(r"-c (\S+)", settings.PLANS_OF_WORKERS):
            cursor.execute(f"SET {setting}")
    try:
        with no_table_is_scanned():
            buy(gateway, standin, now=now)
    finally:
        connection.close()
