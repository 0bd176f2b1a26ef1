"""Refunds and disputes, through the real SDK."""

import re
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
from razorpay.errors import BadRequestError

KEY = {"X-Refund-Idempotency": "refund-key-0001"}


@pytest.fixture
def payment(standin, create_order):
    return standin.pay(create_order()["id"])


@pytest.fixture
def refund(http, payment):
    """Refund the payment: `refund(headers, amount=…)` returns the whole response."""

    def call(headers: dict[str, str] | None = None, **body: object) -> requests.Response:
        path = f"payments/{payment['id']}/refund"
        return http("POST", path, json=body, headers=headers or {})

    return call


def test_a_refund_without_an_amount_refunds_all(standin, client, payment):
    refund = client.payment.refund(payment["id"], {"receipt": "R1", "notes": {"why": "late"}})

    assert re.fullmatch(r"rfnd_[A-Za-z0-9]{14}", refund.pop("id"))
    assert refund.pop("created_at") > 0
    assert refund == {
        "entity": "refund",
        "amount": 50_000,
        "currency": "INR",
        "payment_id": payment["id"],
        "notes": {"why": "late"},
        "receipt": "R1",
        "acquirer_data": {"arn": None},
        "batch_id": None,
        "status": "processed",
        "speed_processed": "normal",
        "speed_requested": "normal",
    }
    refunded = client.payment.fetch(payment["id"])
    assert (refunded["status"], refunded["refund_status"]) == ("refunded", "full")
    assert standin.ledger()["totals"]["refunded_paise"] == 50_000


def test_an_order_stays_paid_after_a_full_refund(client, payment):
    client.payment.refund(payment["id"], {})

    assert client.order.fetch(payment["order_id"])["status"] == "paid"


def test_a_partial_refund_leaves_the_payment_captured(client, payment):
    client.payment.refund(payment["id"], {"amount": 20_000})

    partly = client.payment.fetch(payment["id"])

    assert (partly["status"], partly["refund_status"]) == ("captured", "partial")
    assert partly["amount_refunded"] == 20_000


def test_partial_refunds_may_add_up_to_all_and_no_more(standin, client, payment):
    client.payment.refund(payment["id"], {"amount": 20_000})
    with pytest.raises(BadRequestError, match="total refund amount is greater"):
        client.payment.refund(payment["id"], {"amount": 30_001})
    client.payment.refund(payment["id"], {})

    with pytest.raises(BadRequestError, match="fully refunded already"):
        client.payment.refund(payment["id"], {"amount": 1})
    assert standin.ledger()["totals"]["refunded_paise"] == 50_000


@pytest.mark.parametrize(
    ("body", "description"),
    [
        ({"amount": 50_001}, "The refund amount provided is greater than amount captured"),
        ({"amount": 0}, "Amount cannot be blank."),
        ({"amount": 1.5}, "The amount must be an integer."),
        ({"amount": -1}, "amount: must be no less than 0."),
        ({"speed": "warp"}, "speed: has a wrong value."),
        ({"colour": "red"}, "colour is/are not required and should not be sent"),
    ],
)
def test_a_wrong_refund_moves_no_money(standin, client, payment, body, description):
    with pytest.raises(BadRequestError, match=re.escape(description)):
        client.payment.refund(payment["id"], body)

    assert standin.ledger()["totals"]["refunded_paise"] == 0


@pytest.mark.parametrize("status", ["created", "failed", "authorized"])
def test_only_captured_payments_are_refunded(standin, client, create_order, status):
    payment = standin.pay(create_order()["id"], status)

    with pytest.raises(BadRequestError, match="payment status should be captured"):
        client.payment.refund(payment["id"], {})


def test_an_account_may_void_an_authorized_payment(standin, client, create_order):
    standin.settings(void_authorized=True)
    payment = standin.pay(create_order()["id"], "authorized")

    with pytest.raises(BadRequestError, match="Void is not supported for partial refunds"):
        client.payment.refund(payment["id"], {"amount": 1})
    client.payment.refund(payment["id"], {})

    assert client.payment.fetch(payment["id"])["status"] == "refunded"
    assert standin.ledger()["payments"][payment["id"]]["released_paise"] == 50_000


def test_a_payment_older_than_six_months_is_not_refunded(standin, client, payment):
    standin.advance(184 * 24 * 60 * 60)

    with pytest.raises(BadRequestError, match="older than 6 months"):
        client.payment.refund(payment["id"], {})


def test_three_plain_calls_make_three_refunds(standin, refund):
    for _ in range(3):
        refund(amount=100)

    assert len(standin.refunds()) == 3


# Idempotency by header


def test_the_same_key_and_body_give_the_same_refund(standin, refund):
    first, again = refund(KEY, amount=100), refund(KEY, amount=100)

    assert first.json() == again.json()
    assert standin.ledger()["totals"]["refunded_paise"] == 100


def test_the_same_key_and_receipt_give_the_same_refund(refund):
    first, again = refund(KEY, amount=100, receipt="R1"), refund(KEY, amount=100, receipt="R1")

    assert (again.status_code, again.json()) == (200, first.json())


def test_the_same_key_with_another_body_is_a_conflict(standin, refund):
    refund(KEY, amount=100)

    clash = refund(KEY, amount=200)

    assert (clash.status_code, clash.json()["error"]["code"]) == (409, "BAD_REQUEST_ERROR")
    assert len(standin.refunds()) == 1


@pytest.mark.parametrize("key", ["short-key", "ten.dots..", "ten spaces"])
def test_a_malformed_key_is_refused(refund, key):
    assert refund({"X-Refund-Idempotency": key}, amount=100).status_code == 400


def test_a_refused_refund_does_not_use_up_its_key(refund):
    refused = refund(KEY, amount=50_001)

    assert (refused.status_code, refund(KEY, amount=50_000).status_code) == (400, 200)


def test_a_key_in_flight_is_a_conflict(standin, refund):
    standin.settings(latency_ms=300)
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda _: refund(KEY, amount=100), range(2)))

    assert sorted(answer.status_code for answer in answers) == [200, 409]
    assert len(standin.refunds()) == 1


def test_another_refund_of_the_payment_in_flight_is_a_bad_request(standin, refund):
    standin.settings(latency_ms=300)
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda _: refund(amount=100), range(2)))

    assert sorted(answer.status_code for answer in answers) == [200, 400]
    assert len(standin.refunds()) == 1


# Idempotency by receipt


def test_a_receipt_refunds_a_payment_once(standin, client, payment):
    client.payment.refund(payment["id"], {"amount": 100, "receipt": "R1"})

    with pytest.raises(BadRequestError, match="Duplicate receipt found for this refund request"):
        client.payment.refund(payment["id"], {"amount": 100, "receipt": "R1"})
    assert len(standin.refunds()) == 1


def test_a_receipt_may_serve_two_payments(standin, client, payment, create_order):
    other = standin.pay(create_order()["id"])
    client.payment.refund(payment["id"], {"receipt": "R1"})

    assert client.payment.refund(other["id"], {"receipt": "R1"})["status"] == "processed"


# Refunds that take time, or fail


def test_a_pending_refund_is_processed_later(standin, client, payment):
    standin.settings(refund_status="pending", refund_settle_seconds=3600)
    refund = client.payment.refund(payment["id"], {})
    before = standin.ledger()["payments"][payment["id"]]

    standin.advance(3601)

    assert refund["status"] == "pending"
    assert (before["refunded_paise"], before["refund_pending_paise"]) == (0, 50_000)
    assert client.refund.fetch(refund["id"])["status"] == "processed"
    assert client.payment.fetch(payment["id"])["status"] == "refunded"


def test_a_failed_refund_returns_the_money_to_the_shop(standin, client, payment):
    standin.settings(refund_status="pending")
    refund = client.payment.refund(payment["id"], {})

    standin.move_refund(refund["id"], "fail")

    assert client.refund.fetch(refund["id"])["status"] == "failed"
    after = client.payment.fetch(payment["id"])
    assert (after["status"], after["amount_refunded"]) == ("captured", 0)
    assert standin.ledger()["totals"]["refunded_paise"] == 0


def test_a_failed_refund_may_be_followed_by_another(standin, client, payment):
    standin.settings(refund_status="failed")
    client.payment.refund(payment["id"], {})
    standin.settings(refund_status="processed")

    client.payment.refund(payment["id"], {})

    assert standin.ledger()["totals"]["refunded_paise"] == 50_000


def test_a_refund_that_has_ended_does_not_change_with_the_clock(standin, client, payment):
    standin.settings(refund_status="pending", refund_settle_seconds=3600)
    refund = client.payment.refund(payment["id"], {})
    standin.move_refund(refund["id"], "fail")

    standin.advance(3601)

    assert client.refund.fetch(refund["id"])["status"] == "failed"
    assert standin.ledger()["totals"]["refunded_paise"] == 0


def test_the_bank_may_return_a_processed_refund_once(standin, client, payment):
    refund = client.payment.refund(payment["id"], {})

    standin.move_refund(refund["id"], "fail")

    assert client.refund.fetch(refund["id"])["status"] == "failed"
    now = client.payment.fetch(payment["id"])
    assert (now["status"], now["amount_refunded"]) == ("captured", 0)
    assert standin.ledger()["totals"]["refunded_paise"] == 0
    with pytest.raises(requests.HTTPError, match="is failed, must be pending or processed"):
        standin.move_refund(refund["id"], "fail")


def test_the_balance_of_the_shop_must_cover_a_refund(standin, client, create_order):
    standin.settings(balance_paise=0)
    payment = standin.pay(create_order()["id"])  # the fee stays with Razorpay

    with pytest.raises(BadRequestError, match="does not have enough balance"):
        client.payment.refund(payment["id"], {})
    client.payment.refund(payment["id"], {"amount": 50_000 - payment["fee"]})

    assert standin.settings()["balance_paise"] == 0


@pytest.mark.parametrize(("instant", "speed"), [(True, "instant"), (False, "normal")])
def test_the_account_decides_about_instant_refunds(standin, client, payment, instant, speed):
    standin.settings(instant_refunds=instant)

    refund = client.payment.refund(payment["id"], {"speed": "optimum"})

    assert (refund["speed_requested"], refund["speed_processed"]) == ("optimum", speed)


# Reading


def test_refunds_are_found_by_every_route(client, payment):
    made = [client.payment.refund(payment["id"], {"amount": 100})["id"] for _ in range(2)]

    of_payment = client.payment.fetch_multiple_refund(payment["id"])["items"]
    one = client.payment.fetch_refund_id(payment["id"], made[0])
    assert [refund["id"] for refund in of_payment] == made[::-1]
    assert [refund["id"] for refund in client.refund.all()["items"]] == made[::-1]
    assert one == client.refund.fetch(made[0])


def test_a_refund_of_another_payment_does_not_exist_here(standin, client, payment, create_order):
    other = standin.pay(create_order()["id"])
    refund = client.payment.refund(payment["id"], {})

    with pytest.raises(BadRequestError, match="does not exist"):
        client.payment.fetch_refund_id(other["id"], refund["id"])


def test_notes_of_a_refund_can_be_edited(client, payment):
    refund = client.payment.refund(payment["id"], {})

    assert client.refund.edit(refund["id"], {"notes": {"a": "1"}})["notes"] == {"a": "1"}


# Disputes


def test_a_dispute_blocks_refunds_until_it_is_won(standin, client, payment):
    dispute = standin.call("POST", f"payments/{payment['id']}/disputes")
    with pytest.raises(BadRequestError, match="disputed"):
        client.payment.refund(payment["id"], {})

    standin.call("PATCH", f"disputes/{dispute['id']}", {"status": "won"})

    assert client.payment.refund(payment["id"], {})["status"] == "processed"


def test_a_lost_dispute_takes_the_money(standin, client, payment):
    dispute = standin.call("POST", f"payments/{payment['id']}/disputes")

    standin.call("PATCH", f"disputes/{dispute['id']}", {"status": "lost"})

    assert client.dispute.fetch(dispute["id"])["amount_deducted"] == 50_000
    assert standin.ledger()["totals"]["charged_back_paise"] == 50_000
    assert standin.ledger()["totals"]["net_paise"] == 0


@pytest.mark.parametrize("end", [None, "lost"])
def test_a_lost_dispute_takes_money_only_once(standin, payment, end):
    dispute = standin.call("POST", f"payments/{payment['id']}/disputes")
    if end:
        standin.call("PATCH", f"disputes/{dispute['id']}", {"status": end})

    with pytest.raises(requests.HTTPError, match="disputed already"):
        standin.call("POST", f"payments/{payment['id']}/disputes")
