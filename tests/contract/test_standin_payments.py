"""Payments of the stand-in, through the real SDK and the control API."""

import re
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
from razorpay.errors import BadRequestError, ServerError

DAY_SECONDS = 24 * 60 * 60
MANUAL = {"capture": "manual"}


def test_a_captured_payment_looks_like_the_documented_one(standin, client, create_order):
    order_id = create_order(amount=150_000)["id"]
    paid = standin.pay(order_id)

    payment = client.payment.fetch(paid["id"])

    assert re.fullmatch(r"pay_[A-Za-z0-9]{14}", payment["id"])
    assert payment["order_id"] == order_id
    assert (payment["status"], payment["captured"]) == ("captured", True)
    assert (payment["amount"], payment["currency"]) == (150_000, "INR")
    assert (payment["amount_refunded"], payment["refund_status"]) == (0, None)
    assert (payment["method"], payment["vpa"]) == ("upi", "success@razorpay")
    assert payment["email"] == "void@razorpay.com"
    assert payment["notes"] == []
    assert payment["error_code"] is None
    assert set(payment["acquirer_data"]) == {"rrn", "upi_transaction_id"}


@pytest.mark.parametrize(
    ("amount", "fee", "tax"), [(150_000, 3_540, 540), (36_645, 865, 132), (100, 3, 0)]
)
def test_fee_and_tax_appear_with_the_capture(standin, create_order, amount, fee, tax):
    payment = standin.pay(create_order(amount=amount)["id"], "authorized")
    captured = standin.move_payment(payment["id"], "capture")

    assert (payment["fee"], payment["tax"]) == (None, None)
    assert (captured["fee"], captured["tax"]) == (fee, tax)


def test_a_card_is_shown_only_when_asked_for(standin, client, create_order):
    payment_id = standin.pay(create_order()["id"], method="card")["id"]

    plain = client.payment.fetch(payment_id)

    assert "card" not in plain
    card = client.payment.fetch(payment_id, {"expand[]": "card"})["card"]
    assert (card["id"], card["last4"]) == (plain["card_id"], "1007")
    assert client.payment.fetchCardDetails(payment_id) == card


@pytest.mark.parametrize(
    ("method", "field"), [("netbanking", "bank"), ("wallet", "wallet"), ("upi", "vpa")]
)
def test_each_method_fills_its_own_field(standin, create_order, method, field):
    assert standin.pay(create_order()["id"], method=method)[field]


def test_the_signature_of_a_payment_satisfies_the_sdk(standin, client, create_order):
    fields = standin.pay(create_order()["id"])["checkout"]

    assert client.utility.verify_payment_signature(fields)


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({}, "captured"),
        ({"payment": {"capture": "automatic"}}, "captured"),
        ({"payment": MANUAL}, "authorized"),
        ({"payment_capture": 0}, "authorized"),
        ({"payment_capture": 1}, "captured"),
        ({"payment_capture": 1, "payment": MANUAL}, "authorized"),
    ],
)
def test_the_order_decides_about_the_capture(standin, create_order, fields, status):
    assert standin.pay(create_order(**fields)["id"], "paid")["status"] == status


def test_the_account_decides_if_the_order_does_not(standin, create_order):
    standin.settings(auto_capture=False)

    assert standin.pay(create_order()["id"], "paid")["status"] == "authorized"


# Capture by the shop


@pytest.fixture
def authorized(standin, create_order):
    return standin.pay(create_order(payment=MANUAL)["id"], "paid")


def test_the_shop_captures_an_authorized_payment(client, standin, authorized):
    captured = client.payment.capture(authorized["id"], 50_000, {"currency": "INR"})

    assert captured["status"] == "captured"
    assert client.order.fetch(authorized["order_id"])["status"] == "paid"
    assert standin.ledger()["payments"][authorized["id"]]["captured_paise"] == 50_000


def test_a_second_capture_is_refused_with_nothing_but_na(client, http, authorized):
    client.payment.capture(authorized["id"], 50_000, {"currency": "INR"})

    body = {"amount": 50_000, "currency": "INR"}
    response = http("POST", f"payments/{authorized['id']}/capture", json=body)

    assert response.status_code == 400
    assert response.json()["error"] == {
        "code": "BAD_REQUEST_ERROR",
        "description": "This payment has already been captured",
        "source": "NA",
        "step": "NA",
        "reason": "NA",
        "metadata": {"payment_id": authorized["id"].removeprefix("pay_")},
    }


@pytest.mark.parametrize(
    ("amount", "currency", "description"),
    [
        (49_999, "INR", "Capture amount must be equal to the amount authorized"),
        (50_000, "USD", "Capture request currency must be same as payment currency."),
        (50_000, None, "currency: is required."),
        ("50000", "INR", "The amount must be an integer."),
    ],
)
def test_a_wrong_capture_captures_nothing(
    client, standin, authorized, amount, currency, description
):
    with pytest.raises(BadRequestError, match=re.escape(description)):
        client.payment.capture(authorized["id"], amount, {"currency": currency})

    assert standin.ledger()["totals"]["captured_paise"] == 0


@pytest.mark.parametrize("status", ["created", "failed"])
def test_only_an_authorized_payment_can_be_captured(standin, client, create_order, status):
    payment = standin.pay(create_order()["id"], status)

    with pytest.raises(BadRequestError, match="authorized and not yet captured"):
        client.payment.capture(payment["id"], 50_000, {"currency": "INR"})


def test_a_released_payment_cannot_be_captured(standin, client, authorized):
    standin.move_payment(authorized["id"], "release")

    with pytest.raises(BadRequestError, match="either captured or voided"):
        client.payment.capture(authorized["id"], 50_000, {"currency": "INR"})


def test_a_second_payment_cannot_be_captured_by_the_shop_once_the_order_is_paid(
    standin, client, authorized
):
    standin.settings(second_payment="keep")
    standin.pay(authorized["order_id"], "captured", force=True)

    with pytest.raises(BadRequestError, match="declined as the order is already paid"):
        client.payment.capture(authorized["id"], 50_000, {"currency": "INR"})


def test_the_gateway_knows_no_route_to_capture_an_unknown_payment(client):
    with pytest.raises(ServerError, match=r"^$"):
        client.payment.capture("pay_00000000000000", 100, {"currency": "INR"})


def test_two_captures_at_once_take_the_money_once(standin, http, authorized):
    standin.settings(latency_ms=200)
    body = {"amount": 50_000, "currency": "INR"}

    def capture(_: int) -> requests.Response:
        return http("POST", f"payments/{authorized['id']}/capture", json=body)

    with ThreadPoolExecutor(2) as pool:
        answers = sorted(pool.map(capture, range(2)), key=lambda answer: answer.status_code)

    assert [answer.status_code for answer in answers] == [200, 400]
    assert "another payment operation is in progress" in answers[1].text
    assert standin.ledger()["totals"]["captured_paise"] == 50_000


# Several payments of one order


@pytest.mark.parametrize("first", ["captured", "authorized"])
def test_an_order_takes_no_second_payment_while_one_is_authorized_or_captured(
    standin, create_order, first
):
    order_id = create_order()["id"]
    standin.pay(order_id, first)

    with pytest.raises(requests.HTTPError, match="order_already_paid"):
        standin.pay(order_id)


def test_a_second_payment_is_released_at_once(standin, client, create_order):
    order_id = create_order()["id"]
    late = standin.pay(order_id, "created")
    standin.pay(order_id, "captured")

    second = standin.move_payment(late["id"], "authorize")

    assert (second["status"], second["captured"]) == ("refunded", False)
    assert second["amount_refunded"] == 50_000
    assert client.payment.fetch_multiple_refund(late["id"])["count"] == 1
    assert standin.ledger()["payments"][late["id"]]["released_paise"] == 50_000
    assert standin.ledger()["totals"]["net_paise"] == 50_000


def test_an_account_may_keep_a_second_payment(standin, client, create_order):
    standin.settings(second_payment="keep")
    order_id = create_order()["id"]
    late = standin.pay(order_id, "created")
    standin.pay(order_id, "captured")

    second = standin.move_payment(late["id"], "authorize")

    assert second["status"] == "captured"
    assert standin.ledger()["orders"][order_id]["captured_paise"] == 100_000
    assert client.order.fetch(order_id)["amount_paid"] == 50_000


def test_the_payments_of_an_order_come_oldest_first(standin, client, create_order):
    order_id = create_order()["id"]
    made = [standin.pay(order_id, outcome)["id"] for outcome in ("failed", "failed", "captured")]

    assert [p["id"] for p in client.order.payments(order_id)["items"]] == made


# Late and other turns


def test_a_failed_payment_may_be_captured_later(standin, client, create_order):
    payment = standin.pay(create_order()["id"], "failed")

    late = standin.move_payment(payment["id"], "capture")

    assert payment["error_reason"] == "payment_failed"
    assert (late["id"], late["status"], late["error_code"]) == (payment["id"], "captured", None)
    assert client.order.fetch(payment["order_id"])["status"] == "paid"


def test_a_payment_without_an_answer_fails_after_ten_minutes(standin, client, create_order):
    payment_id = standin.pay(create_order()["id"], "created")["id"]

    standin.advance(599)
    before = client.payment.fetch(payment_id)["status"]
    standin.advance(2)

    assert before == "created"
    assert client.payment.fetch(payment_id)["status"] == "failed"
    assert client.payment.fetch(payment_id)["error_reason"] == "payment_timed_out"


def test_authorized_money_is_released_after_three_days(standin, client, authorized):
    standin.advance(3 * DAY_SECONDS - 10)
    before = client.payment.fetch(authorized["id"])["status"]
    standin.advance(20)

    assert before == "authorized"
    assert client.payment.fetch(authorized["id"])["status"] == "refunded"
    assert standin.ledger()["totals"]["released_paise"] == 50_000
    assert standin.ledger()["totals"]["captured_paise"] == 0


@pytest.mark.parametrize("first", ["created", "authorized"])
def test_money_that_was_captured_in_time_stays(standin, client, create_order, first):
    payment = standin.pay(create_order()["id"], first)
    standin.move_payment(payment["id"], "capture")

    standin.advance(30 * DAY_SECONDS)

    assert client.payment.fetch(payment["id"])["status"] == "captured"
    assert standin.ledger()["totals"]["net_paise"] == 50_000


def test_an_order_can_shorten_the_time_until_money_is_released(standin, client, create_order):
    options = {"manual_expiry_period": 20}
    order = create_order(payment={"capture": "manual", "capture_options": options})
    payment = standin.pay(order["id"], "paid")

    standin.advance(20 * 60 + 1)

    assert client.payment.fetch(payment["id"])["status"] == "refunded"


def test_a_payment_that_is_too_late_for_automatic_capture_waits(standin, create_order):
    options = {"automatic_expiry_period": 12, "manual_expiry_period": 100}
    order = create_order(payment={"capture": "automatic", "capture_options": options})
    payment = standin.pay(order["id"], "created")
    standin.advance(13 * 60)

    assert standin.move_payment(payment["id"], "authorize")["status"] == "authorized"


def test_a_captured_payment_cannot_fail(standin, create_order):
    payment = standin.pay(create_order()["id"])

    with pytest.raises(requests.HTTPError, match="is captured, must be created"):
        standin.move_payment(payment["id"], "fail")


def test_a_payment_of_another_amount_can_be_scripted(standin, client, create_order):
    order_id = create_order()["id"]

    payment = standin.pay(order_id, amount=40_000)

    assert payment["amount"] == 40_000
    order = client.order.fetch(order_id)
    assert (order["status"], order["amount_due"]) == ("attempted", 10_000)


def test_notes_and_nothing_else_of_a_payment_can_be_edited(standin, client, create_order):
    payment_id = standin.pay(create_order()["id"])["id"]

    assert client.payment.edit(payment_id, {"notes": {"a": "1"}})["notes"] == {"a": "1"}
    with pytest.raises(BadRequestError, match="amount is/are not required"):
        client.payment.edit(payment_id, {"notes": {}, "amount": 1})


def test_payments_are_listed_newest_first(standin, client, create_order):
    made = [standin.pay(create_order()["id"])["id"] for _ in range(3)]

    assert [p["id"] for p in client.payment.all({"count": 2})["items"]] == made[:0:-1]
