"""What buyers and staff see about money: late or not, why it is refunded, in which currency."""

from dataclasses import replace

import pytest
from django.core.management import call_command

from shop.accounts import User
from shop.checkout import snapshots, start, status
from shop.checkout.states import State
from shop.checkout.steps.check_payments import CheckPayments
from shop.checkout.steps.expire import EXPIRE, FINAL_POLL_GRACE
from shop.checkout.steps.reconcile_webhook import ReconcileWebhook
from shop.operations import actions, books
from shop.operations.audit_log import ActionRequest
from shop.payments import polling
from shop.payments.cases import Case
from shop.payments.gateway import Listing
from shop.payments.ledger import GatewayOrder, Payment
from shop.payments.refunds import Refund
from tests.support.events import deliver
from tests.support.payments import pay_and_poll
from tests.support.shop import (
    make_checkout,
    make_payable,
    make_variant,
    reload,
    run,
    run_remote,
    stock_of,
)

pytestmark = pytest.mark.django_db


@pytest.fixture
def by(now):
    person = User.objects.create_superuser("asha@example.com", "x")
    return lambda: ActionRequest(person.pk, "looked at it", now)


@pytest.fixture
def variant():
    return make_variant()


@pytest.fixture
def payable(variant, gateway, now):
    return make_payable(make_checkout(variant, now=now), gateway, now=now)


def shown(job, *, now):
    return status.resource(snapshots.read(job.pk, owner_id=job.owner_id), key_id="k", now=now)


def pay(job, standin, *, now, **changes):
    order_id = GatewayOrder.objects.get(order=job.order).gateway_order_id
    deliver(standin.pay(order_id), now=now, **changes)
    run(ReconcileWebhook(), now=now)


# --- money that comes after the end --------------------------------------------------------------


def test_a_buyer_who_cancelled_and_paid_is_told_so(payable, gateway, standin, now):
    start.cancel(owner_id=payable.owner_id, job_id=payable.pk, now=now)

    pay_and_poll(payable, gateway, standin, now=now)

    status = shown(payable, now=now)
    assert (status["status"], status["paid_late"]) == ("paid", True)
    assert status["message"].startswith(
        "Your payment arrived after you cancelled; your order is confirmed."
    )


def test_a_buyer_who_paid_after_the_time_to_pay_is_told_so(
    payable, gateway, standin, settings, now
):
    late = payable.expires_at + FINAL_POLL_GRACE
    run(EXPIRE, now=late)
    run(EXPIRE, now=late + FINAL_POLL_GRACE)
    assert reload(payable).state == State.EXPIRED

    pay_and_poll(payable, gateway, standin, now=late)

    assert (
        "after the time to pay had run out; your order is confirmed"
        in (shown(payable, now=late)["message"])
    )


def test_a_checkout_that_the_shop_ended_is_not_said_to_be_cancelled_by_its_buyer(
    payable, gateway, standin, by, now
):
    actions.cancel(payable.pk, by=by())

    pay_and_poll(payable, gateway, standin, now=now)

    assert "after this checkout had ended;" in shown(payable, now=now)["message"]


def test_a_buyer_who_paid_in_time_is_told_nothing_of_it(payable, gateway, standin, now):
    pay_and_poll(payable, gateway, standin, now=now)

    status = shown(payable, now=now)
    assert (status["paid_late"], status["message"]) == (False, "Paid. Thank you for your order!")


# --- money that goes back ------------------------------------------------------------------------


def test_money_given_back_out_of_review_is_not_said_to_have_come_late(payable, standin, by, now):
    pay(payable, standin, amount=100, now=now)

    actions.refund_all(payable.pk, by=by())

    message = shown(payable, now=now)["message"]
    assert "after this checkout had ended" not in message
    assert message.startswith("We could not accept your payment for this order. ₹1.00 is on its")


def test_late_money_that_goes_back_is_said_to_have_come_late(payable, standin, settings, now):
    settings.LATE_PAYMENT = "refund"
    start.cancel(owner_id=payable.owner_id, job_id=payable.pk, now=now)

    pay(payable, standin, now=now)

    assert shown(payable, now=now)["message"].startswith("Your payment came after this checkout")


# --- money of another currency -------------------------------------------------------------------


@pytest.fixture
def in_dollars(payable, standin, now):
    pay(payable, standin, amount=1200, currency="USD", now=now)
    assert reload(payable).state == State.IN_REVIEW
    return payable


def test_a_refund_is_shown_in_its_own_currency(in_dollars, by, now):
    entry = actions.refund_all(in_dollars.pk, by=by())

    status = shown(in_dollars, now=now)
    assert "USD 12.00 is on its way back to you" in status["message"]
    refund = status["refund"]
    assert (refund["amount"], refund["amount_paise"], refund["currency"]) == (12.0, 1200, "USD")
    assert "USD 12.00 of pay_" in entry.outcome
    assert str(Refund.objects.get()) == "refund of USD 12.00 (due)"


def test_operations_see_it_in_its_own_currency(in_dollars, by, client, capsys, now):
    assert "USD 12.00, not ₹22,488.96" in Case.objects.get().text
    actions.refund_all(in_dollars.pk, by=by())
    client.force_login(User.objects.get(email="asha@example.com"))
    paths = ["payment/", "refund/", f"checkoutjob/{in_dollars.pk}/change/"]

    for path in paths:
        assert "USD 12.00" in client.get(f"/admin/shop/{path}").content.decode()
        assert "₹12.00" not in client.get(f"/admin/shop/{path}").content.decode()
    call_command("checkout", str(in_dollars.pk))
    assert "₹12.00" not in capsys.readouterr().out


def test_the_audit_adds_up_each_currency_on_its_own(in_dollars, gateway, standin, capsys, now):
    other = make_payable(make_checkout(now=now), gateway, now=now)
    pay(other, standin, now=now)

    totals = {total.currency: total for total in books.totals()}
    assert totals["INR"].kept_paise == other.amount_paise
    assert (totals["USD"].captured_paise, totals["USD"].undecided_paise) == (1200, 1200)
    call_command("audit")
    printed = capsys.readouterr().out
    assert "captured ₹22,488.96 = paid" in printed
    assert "captured USD 12.00 = paid" in printed


def test_staff_refund_an_order_paid_in_dollars_in_dollars(in_dollars, by, client, now):
    actions.accept_money(in_dollars.pk, by=by())
    client.force_login(User.objects.get(email="asha@example.com"))
    url = f"/admin/shop/checkoutjob/{in_dollars.pk}/action/refund/"

    page = client.get(url)
    assert "Amount in USD" in page.content.decode()
    form = page.context["form"]
    assert form.initial["amount"] == "12.00"
    key = str(form.initial["key"])
    client.post(url, {"reason": "a scratch", "key": key, "amount": "5.00"})

    assert Refund.objects.get().amount_paise == 500


def test_a_dispute_is_shown_in_its_own_currency(payable, standin, now):
    pay(payable, standin, now=now)
    dispute = {"id": "disp_1", "payment_id": Payment.objects.get().gateway_payment_id}
    deliver(
        standin.payments()[0], name="payment.dispute.created", now=now,
        dispute=dispute | {"amount": 500, "currency": "USD", "status": "open"},
    )  # fmt: skip
    run(ReconcileWebhook(), now=now)

    assert "disputed: USD 5.00" in Case.objects.get().text


# --- a review with nothing left to decide --------------------------------------------------------


@pytest.fixture
def only_authorised(payable, standin, now):
    """A payment of another amount than the order's, authorised and not captured."""
    order_id = GatewayOrder.objects.get(order=payable.order).gateway_order_id
    payment = standin.pay(order_id, outcome="authorized")
    deliver(payment, amount=100, now=now)
    run(ReconcileWebhook(), now=now)
    assert reload(payable).state == State.IN_REVIEW
    return payment


def poll(job, gateway, *, now):
    polling.poll_now([job.order_id], now=now)
    run_remote(CheckPayments(), gateway, now=now)


def test_a_review_ends_when_its_authorised_payment_has_failed(
    only_authorised, payable, variant, gateway, standin, monkeypatch, now
):
    [failed] = gateway.fetch_payments(gateway_order_id=only_authorised["order_id"])
    fail(failed, gateway, monkeypatch)

    poll(payable, gateway, now=now)

    assert reload(payable).state == State.CANCELLED
    assert stock_of(variant) == (10, 0)
    case = Case.objects.get()
    assert (case.closed_at, case.closed_by) == (now, None)
    assert "Nothing was charged" in shown(payable, now=now)["message"]


def test_a_webhook_that_says_failed_may_be_older_than_the_authorisation(
    only_authorised, payable, now
):
    deliver(only_authorised, amount=100, status="failed", now=now)
    run(ReconcileWebhook(), now=now)

    assert Payment.objects.get().status == "authorized"
    assert reload(payable).state == State.IN_REVIEW


def test_staff_end_a_review_whose_payment_came_to_nothing(only_authorised, payable, by, now):
    """A review that an older version did not end by itself."""
    Payment.objects.update(status="failed")

    entry = actions.refund_all(payable.pk, by=by())

    assert reload(payable).state == State.CANCELLED
    assert entry.outcome == "no payment was captured; cases closed: 1"


def test_money_that_comes_after_such_an_end_is_in_review_again(
    only_authorised, payable, gateway, monkeypatch, now
):
    [failed] = gateway.fetch_payments(gateway_order_id=only_authorised["order_id"])
    with monkeypatch.context() as patched:
        fail(failed, gateway, patched)
        poll(payable, gateway, now=now)

    deliver(only_authorised, amount=100, now=now)
    run(ReconcileWebhook(), now=now)

    assert reload(payable).state == State.IN_REVIEW
    assert Case.objects.get().closed_at is None


def fail(payment, gateway, patched):
    """The authorisation lapses: an injected answer, which the stand-in cannot give."""
    status = Listing([replace(payment, amount_paise=100, status="failed")])
    patched.setattr(gateway, "fetch_payments", lambda **_: status)
