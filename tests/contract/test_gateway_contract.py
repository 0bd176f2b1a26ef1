"""
What the shop relies on at Razorpay, tested on every target: statuses, codes and shapes, but not
texts, which change. Nothing here needs a person to pay.

With an account in test mode, the same tests run against Razorpay itself:

    RAZORPAY_KEY_ID=rzp_test_… RAZORPAY_KEY_SECRET=… pytest tests/contract/test_gateway_contract.py
"""

from __future__ import annotations

import re
import uuid
from typing import Any

import pytest
from razorpay.errors import BadRequestError

from shop.payments.gateway import Declined, DuplicateReceipt, Unreachable
from tests.contract.targets import Target

pytestmark = pytest.mark.django_db  # the adaptor checks whether a transaction is open

UNKNOWN_ORDER = "order_00000000000000"
UNKNOWN_PAYMENT = "pay_00000000000000"
MAX_LAG_SECONDS = 60  # of the list of orders; 8 were measured


def new_receipt() -> str:
    """Forty characters, the maximum."""
    return f"contract{uuid.uuid4().hex}"


def create(target: Target, **fields: Any) -> dict[str, Any]:
    return target.sdk.order.create({"amount": 12345, "currency": "INR", **fields})


def assert_refused(answer: Any, *, status: int = 400, code: str = "BAD_REQUEST_ERROR") -> None:
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert error["code"] == code
    assert error["description"]


def test_a_created_order_has_the_fields_we_read(target):
    receipt = new_receipt()

    order = create(target, receipt=receipt, payment_capture=1)

    assert re.fullmatch(r"order_[A-Za-z0-9]{14}", order["id"])
    assert isinstance(order["created_at"], int)
    expected = {"entity": "order", "amount": 12345, "currency": "INR", "receipt": receipt}
    expected |= {"amount_paid": 0, "amount_due": 12345, "status": "created", "attempts": 0}
    assert {name: order[name] for name in expected} == expected


def test_a_create_answers_200(target):
    answer = target.call("POST", "orders", json={"amount": 100, "currency": "INR"})

    assert answer.status_code == 200


def test_empty_notes_are_a_list_and_others_an_object(target):
    assert create(target)["notes"] == []
    assert create(target, notes={"cart": "7"})["notes"] == {"cart": "7"}


@pytest.mark.parametrize(
    "fields", [{"amount": 100}, {"notes": {f"k{n}": "x" * 256 for n in range(15)}}]
)
def test_a_create_at_the_edge_is_accepted(target, fields):
    assert create(target, **fields)["status"] == "created"


@pytest.mark.parametrize(
    "fields",
    [
        {"amount": 99},
        {"amount": 0},
        {"amount": -100},
        {"amount": 100.5},
        {"amount": None},
        {"amount": "a hundred"},
        {"currency": "XYZ"},
        {"currency": ""},
        {"currency": None},
        {"receipt": "r" * 41},
        {"notes": {f"k{n}": "x" for n in range(16)}},
        {"notes": "text"},
        {"colour": "red"},
    ],
)
def test_a_wrong_create_is_a_bad_request(target, fields):
    body = {"amount": 12345, "currency": "INR", **fields}

    assert_refused(target.call("POST", "orders", json=body))


def test_broken_json_is_a_bad_request(target):
    headers = {"Content-Type": "application/json"}

    assert_refused(target.call("POST", "orders", data="{amount", headers=headers))


def test_an_order_is_read_by_its_id_at_once(target):
    order = create(target, receipt=new_receipt())

    assert target.sdk.order.fetch(order["id"]) == order


def test_a_new_order_is_found_by_its_receipt_sooner_or_later(target):
    receipt = new_receipt()
    order = create(target, receipt=receipt)

    for _ in range(MAX_LAG_SECONDS):
        found = target.sdk.order.all({"receipt": receipt, "count": 100})
        if found["items"]:
            break
        target.pass_seconds(1)

    assert (found["entity"], found["count"]) == ("collection", 1)
    assert [item["id"] for item in found["items"]] == [order["id"]]


def test_no_order_has_a_receipt_that_was_never_used(target):
    found = target.sdk.order.all({"receipt": new_receipt()})

    assert (found["count"], found["items"]) == (0, [])


def test_a_receipt_used_twice_is_another_order_or_a_refusal_that_we_know(target):
    receipt = new_receipt()
    gateway = target.gateway()
    first = gateway.create_order(receipt=receipt, amount_paise=12345, currency="INR")

    try:
        known = gateway.create_order(receipt=receipt, amount_paise=12345, currency="INR").id
    except DuplicateReceipt as refusal:
        known = refusal.existing_order_id or first.id

    assert gateway.fetch_order(gateway_order_id=known).receipt == receipt


def test_a_fresh_order_has_no_payments(target):
    payments = target.sdk.order.payments(create(target)["id"])

    assert (payments["entity"], payments["count"], payments["items"]) == ("collection", 0, [])


def test_notes_can_be_edited_and_nothing_else(target):
    order_id = create(target, notes={"a": "1"})["id"]

    assert target.sdk.order.edit(order_id, {"notes": {"b": "2"}})["notes"] == {"b": "2"}
    assert_refused(target.call("PATCH", f"orders/{order_id}", json={"amount": 100}))


@pytest.mark.parametrize("path", [f"orders/{UNKNOWN_ORDER}", f"payments/{UNKNOWN_PAYMENT}"])
def test_an_unknown_id_is_a_bad_request_and_not_a_404(target, path):
    assert_refused(target.call("GET", path))


def test_a_malformed_id_is_a_bad_request(target):
    assert_refused(target.call("GET", "orders/order_short"))


@pytest.mark.parametrize("count", [0, 101])
def test_a_page_has_one_to_a_hundred_items(target, count):
    assert_refused(target.call("GET", "orders", params={"count": count}))


def test_a_page_is_as_long_as_it_says_with_the_newest_first(target):
    create(target), create(target)
    for _ in range(MAX_LAG_SECONDS):
        page = target.sdk.order.all({"count": 2})
        if page["count"] == 2:
            break
        target.pass_seconds(1)

    made = [order["created_at"] for order in page["items"]]
    assert len(made) == page["count"] == 2
    assert made == sorted(made, reverse=True)


@pytest.mark.parametrize("auth", [("rzp_test_0000000000000", "wrong"), None])
def test_without_a_key_there_is_only_401(target, auth):
    assert_refused(target.call("GET", "orders", auth=auth), status=401)


def test_a_wrong_secret_is_401(target):
    assert_refused(target.call("GET", "orders", auth=(target.key_id, "wrong")), status=401)


def test_an_unknown_route_has_no_error_object(target):
    answer = target.call("GET", "orderz")

    assert answer.status_code == 404
    assert "error" not in answer.json()


def test_a_capture_of_an_unknown_payment_is_no_success(target):
    body = {"amount": 100, "currency": "INR"}

    answer = target.call("POST", f"payments/{UNKNOWN_PAYMENT}/capture", json=body)

    assert answer.status_code in {400, 404}


def test_the_sdk_keeps_only_the_text_of_a_refusal(target):
    with pytest.raises(BadRequestError) as refusal:
        create(target, amount=99)

    assert vars(refusal.value) == {}


def test_our_adaptor_reads_what_it_needs(target):
    receipt, gateway = new_receipt(), target.gateway()

    order = gateway.create_order(receipt=receipt, amount_paise=12345, currency="INR")

    assert gateway.fetch_order(gateway_order_id=order.id) == order
    assert (order.amount_paise, order.currency, order.receipt) == (12345, "INR", receipt)
    assert order.status == "created"
    assert gateway.fetch_payments(gateway_order_id=order.id) == []


def test_our_adaptor_tells_a_refusal_from_an_outage(target):
    with pytest.raises(Declined):
        target.gateway().create_order(receipt=new_receipt(), amount_paise=99, currency="INR")
    with pytest.raises(Declined):
        target.gateway().fetch_payment(gateway_payment_id=UNKNOWN_PAYMENT)
    with pytest.raises(Unreachable):
        target.gateway(key_secret="wrong").fetch_order(gateway_order_id=UNKNOWN_ORDER)
