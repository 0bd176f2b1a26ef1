"""Repeated receipts and delayed lists, which make an unconfirmed create hard to resolve."""

import pytest
from razorpay.errors import BadRequestError


def test_by_default_a_receipt_may_be_used_twice(standin, create_order):
    first, second = create_order(receipt="cart-7"), create_order(receipt="cart-7")

    assert first["id"] != second["id"]
    assert standin.ledger()["receipts"] == {"cart-7": 2}


def test_the_idempotency_header_of_other_products_does_nothing_for_orders(http, standin):
    headers = {"X-Razorpay-Idempotency": "the-same-key"}
    for _ in range(2):
        http("POST", "orders", json={"amount": 100, "currency": "INR"}, headers=headers)

    assert len(standin.orders()) == 2


def test_an_account_can_refuse_a_repeated_receipt(standin, create_order):
    standin.settings(receipt_mode="reject")
    create_order(receipt="cart-7")

    with pytest.raises(BadRequestError, match="This request has already been processed"):
        create_order(receipt="cart-7")


@pytest.mark.parametrize(("mode", "named"), [("reject", False), ("reject_with_id", True)])
def test_a_refusal_may_name_the_order_that_exists(standin, http, create_order, mode, named):
    standin.settings(receipt_mode=mode)
    order = create_order(receipt="cart-7")

    body = {"amount": 50_000, "currency": "INR", "receipt": "cart-7"}
    refusal = http("POST", "orders", json=body).json()["error"]

    assert refusal["metadata"] == ({"order_id": order["id"]} if named else {})


def test_an_account_that_knows_unique_receipt_gives_the_same_order(standin, create_order):
    standin.settings(unique_receipt=True)
    order = create_order(receipt="cart-7", unique_receipt=True)

    again = create_order(receipt="cart-7", unique_receipt=True)

    assert again == order


def test_unique_receipt_applies_only_to_requests_with_it(standin, create_order):
    standin.settings(unique_receipt=True)
    order = create_order(receipt="cart-7")

    assert create_order(receipt="cart-7")["id"] != order["id"]


def test_a_new_order_is_not_found_by_receipt_at_first(standin, client, create_order):
    standin.settings(receipt_lag_seconds=8)
    standin.call("POST", "clock", {"frozen": True})
    order = create_order(receipt="cart-7")

    at_once = client.order.all({"receipt": "cart-7"})["items"]
    standin.advance(7.9)
    just_before = client.order.all({"receipt": "cart-7"})["items"]
    standin.advance(0.2)
    after = client.order.all({"receipt": "cart-7"})["items"]

    assert (at_once, just_before) == ([], [])
    assert [found["id"] for found in after] == [order["id"]]


def test_a_read_by_id_is_never_delayed(standin, client, create_order):
    standin.settings(receipt_lag_seconds=8, list_lag_seconds=120)
    order = create_order()

    assert client.order.fetch(order["id"]) == order


def test_the_list_of_payments_is_delayed_but_the_order_is_not(standin, client, create_order):
    standin.settings(list_lag_seconds=120)
    order_id = create_order()["id"]
    payment = standin.pay(order_id)

    assert client.payment.all()["items"] == []
    assert client.order.fetch(order_id)["status"] == "paid"
    assert client.payment.fetch(payment["id"])["status"] == "captured"
    assert [p["id"] for p in client.order.payments(order_id)["items"]] == [payment["id"]]
    standin.advance(121)
    assert [p["id"] for p in client.payment.all()["items"]] == [payment["id"]]


def test_the_order_too_can_be_delayed(standin, client, create_order):
    standin.settings(order_state_lag_seconds=2, order_payments_lag_seconds=2)
    order_id = create_order()["id"]
    standin.pay(order_id)

    order = client.order.fetch(order_id)

    assert (order["status"], order["amount_paid"]) == ("attempted", 0)
    assert client.order.payments(order_id)["items"] == []
    standin.advance(3)
    assert client.order.fetch(order_id)["status"] == "paid"


def test_the_control_api_shows_what_the_lists_hide(standin, create_order):
    standin.settings(receipt_lag_seconds=8)
    order = create_order(receipt="cart-7")

    assert [found["id"] for found in standin.orders(receipt="cart-7")] == [order["id"]]
