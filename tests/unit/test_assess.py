"""The assessment of an order's payments: pure, without a database."""

import pytest

from shop.orders import Order
from shop.payments.assessment import assess
from shop.payments.ledger import Payment

ORDER = Order(amount_paise=1000, currency="INR")


def payment(status: str, *, amount_paise: int = 1000, currency: str = "INR") -> Payment:
    return Payment(status=status, amount_paise=amount_paise, currency=currency)


def test_a_captured_payment_of_the_right_amount_pays():
    captured = payment("captured")
    assert assess(ORDER, [payment("failed"), captured]).paid_by is captured


@pytest.mark.parametrize("status", ["created", "failed", "authorized", "refunded"])
def test_no_other_status_pays(status):
    assert assess(ORDER, [payment(status)]).paid_by is None


@pytest.mark.parametrize(
    "wrong", [{"amount_paise": 999}, {"amount_paise": 1001}, {"currency": "USD"}]
)
def test_other_money_is_a_conflict_and_does_not_pay(wrong):
    assessment = assess(ORDER, [payment("captured", **wrong)])
    assert assessment.paid_by is None
    assert len(assessment.conflicts) == 1


def test_a_second_captured_payment_is_excess():
    first, second = payment("captured"), payment("captured")
    assessment = assess(ORDER, [first, second])
    assert assessment.paid_by is first
    assert assessment.excess == (second,)


def test_an_authorised_payment_waits_for_capture():
    waiting = payment("authorized")
    assert assess(ORDER, [waiting]).to_capture == (waiting,)
