"""Staff find a row among millions by an index: the lists never read a whole table."""

from __future__ import annotations

import json
from collections.abc import Iterator

import psycopg
import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from shop.accounts import User
from shop.checkout.jobs import CheckoutJob
from shop.checkout.states import State
from shop.checkout.steps.reconcile_webhook import ReconcileWebhook
from shop.payments.inbox import InboxEvent
from shop.payments.ledger import GatewayOrder, Payment
from tests.support.events import deliver
from tests.support.old_rows import grow
from tests.support.shop import fill_cart, make_buyer, make_payable, make_variant, post_checkout, run

pytestmark = pytest.mark.django_db(transaction=True)

ROWS = 3000
MAX_READ = 400  # rows of one table for one list: a page, and the rows that it shows beside


@pytest.fixture
def staff(client: Client) -> Client:
    client.force_login(User.objects.create_superuser("root@example.com", "x"))
    return client


@pytest.fixture
def paid(gateway, standin, services) -> CheckoutJob:
    """One paid checkout among thousands of old ones."""
    now = timezone.now()
    buyer = make_buyer(now=now)
    fill_cart(buyer, make_variant(), now=now)
    job = make_payable(post_checkout(buyer, now=now, key="k"), gateway, now=now)
    payment = standin.pay(GatewayOrder.objects.get().gateway_order_id)
    deliver(payment, now=now)
    run(ReconcileWebhook(), now=now)
    InboxEvent.objects.update(gateway_event_id=f"evt_{payment['id']}")
    grow(dsn(services), checkouts=ROWS)
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE")
    return job


def dsn(services) -> str:
    name = connection.settings_dict["NAME"]
    return psycopg.conninfo.make_conninfo(services.superuser_url, dbname=name)


def rows_read(queries: CaptureQueriesContext) -> Iterator[tuple[str, int]]:
    """For each table that these statements read: how many of its rows, filtered ones included."""
    for query in queries:
        if query["sql"].startswith("SELECT"):
            with connection.cursor() as cursor:
                cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {query['sql']}")
                [found] = cursor.fetchone()
            plan = json.loads(found) if isinstance(found, str) else found
            yield from _read_by(plan[0]["Plan"])


def _read_by(node: dict) -> Iterator[tuple[str, int]]:
    if "Relation Name" in node:
        dropped = node.get("Rows Removed by Filter", 0)
        yield node["Relation Name"], (node["Actual Rows"] + dropped) * node["Actual Loops"]
    for child in node.get("Plans", ()):
        yield from _read_by(child)


NAMES = {
    "pay_": lambda job: Payment.objects.get(gateway_order__order=job.order_id).gateway_payment_id,
    "order_": lambda job: GatewayOrder.objects.get(order=job.order_id).gateway_order_id,
    "number": lambda job: job.order.number,
}


@pytest.mark.parametrize("table", ["checkoutjob", "order", "gatewayorder", "payment"])
@pytest.mark.parametrize("name", NAMES)
def test_a_row_is_found_by_any_name_without_reading_a_table(staff, paid, table, name):
    with CaptureQueriesContext(connection) as queries:
        response = staff.get(reverse(f"admin:shop_{table}_changelist"), {"q": NAMES[name](paid)})

    assert response.context["cl"].result_count == 1
    assert all(rows <= MAX_READ for _, rows in rows_read(queries)), list(rows_read(queries))


def test_checkouts_of_a_state_are_listed_newest_first_by_an_index(staff, paid):
    with CaptureQueriesContext(connection) as queries:
        staff.get(reverse("admin:shop_checkoutjob_changelist"), {"state__exact": "paid"})

    [page] = [query["sql"] for query in queries if query["sql"].endswith("DESC LIMIT 50")]
    assert "checkout_ended" in _plan(page), _plan(page)


def test_failures_of_a_kind_are_listed_by_an_index(staff, paid):
    old = CheckoutJob.objects.filter(order_id__lt=0, order_id__gt=-ROWS // 10)
    old.update(state=State.FAILED, error_code="out_of_stock")
    with CaptureQueriesContext(connection) as queries:
        staff.get(
            reverse("admin:shop_checkoutjob_changelist"), {"error_code__exact": "out_of_stock"}
        )

    [page] = [query["sql"] for query in queries if query["sql"].endswith("DESC LIMIT 50")]
    assert "checkout_ended" in _plan(page), _plan(page)


def _plan(sql: str) -> str:
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN {sql}")
        return "\n".join(line for (line,) in cursor.fetchall())


def test_failures_of_the_last_week_are_listed_by_default(staff, now):
    response = staff.get(
        reverse("admin:shop_checkoutjob_changelist"), {"error_code__exact": "out_of_stock"}
    )

    [bound] = [spec for spec in response.context["cl"].filter_specs if spec.parameter_name == "age"]
    assert bound.chosen() == "week"
