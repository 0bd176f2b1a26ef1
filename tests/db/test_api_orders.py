"""The caller's own orders."""

import pytest
from django.utils import timezone

from shop.checkout.steps.check_payments import CheckPayments
from shop.payments import polling
from shop.payments.ledger import GatewayOrder
from tests.support.api import Caller, granted, ordered, payable, refused
from tests.support.shop import ADDRESS, make_variant, run_remote

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis")]


def test_an_order_shows_what_was_bought_for_how_much(gateway, standin):
    buyer, mug, lamp = Caller.guest(), make_variant(), make_variant(price_paise=9900)
    buyer.add(mug, quantity=2)
    checkout = buyer.check_out(lamp)
    job = payable(checkout, gateway)

    order = granted(buyer.get(buyer.status(checkout)["order"]["url"]))

    assert order == {
        "number": job.order.number,
        "status": "awaiting_payment",
        "amount": 45076.92,
        "amount_paise": 4507692,
        "currency": "INR",
        "created_at": order["created_at"],
        "paid_at": None,
        "checkout_id": checkout["id"],
        "shipping_address": ADDRESS,
        "billing_address": ADDRESS,
        "lines": [
            {
                "sku": variant.sku,
                "name": variant.product.name,
                "quantity": quantity,
                "unit_price": variant.price_paise / 100,
                "unit_price_paise": variant.price_paise,
                "line_total": quantity * variant.price_paise / 100,
                "line_total_paise": quantity * variant.price_paise,
            }
            for variant, quantity in ((mug, 2), (lamp, 1))
        ],
    }


def test_a_paid_order_has_paid_at(gateway, standin):
    buyer = Caller.guest()
    checkout = buyer.check_out()
    job = payable(checkout, gateway)
    standin.pay(GatewayOrder.objects.get().gateway_order_id)
    now = timezone.now()
    polling.poll_now([job.order_id], now=now)
    run_remote(CheckPayments(), gateway, now=now)

    [order] = granted(buyer.get("/api/orders/"))["results"]

    assert order["status"] == "paid"
    assert order["paid_at"]


def test_the_list_has_the_callers_own_orders_newest_first():
    buyer = Caller.guest()
    ordered(Caller.guest().check_out())
    numbers = [ordered(buyer.check_out()).order.number for _ in range(2)]

    page = granted(buyer.get("/api/orders/"))

    assert page["count"] == 2
    assert [order["number"] for order in page["results"]] == numbers[::-1]


def test_the_order_of_another_buyer_is_not_found():
    theirs = ordered(Caller.guest().check_out()).order.number
    stranger = Caller.guest()

    answers = [
        refused(stranger.get(f"/api/orders/{number}/"), 404, "not_found")
        for number in (theirs, "PK-261122-0000000000")
    ]

    assert answers[0] == answers[1]


def test_a_page_of_orders_costs_as_many_queries_as_one_order(django_assert_max_num_queries):
    buyer = Caller.guest()
    for _ in range(3):
        ordered(buyer.check_out())

    with django_assert_max_num_queries(3):  # count, orders with checkouts, lines
        granted(buyer.get("/api/orders/"))
