"""An unreadable item of a list hides none of the others, and staff see it."""

import json
from datetime import timedelta

import pytest

from shop.checkout.states import State
from shop.checkout.steps.check_payments import CheckPayments
from shop.checkout.steps.create_razorpay_order import CreateRazorpayOrder
from shop.checkout.steps.reconcile_webhook import ReconcileWebhook
from shop.checkout.steps.send_refunds import SendRefunds
from shop.operations import books
from shop.payments import inbox, polling, refunds, webhook_health
from shop.payments.cases import Case, CaseKind
from shop.payments.inbox import InboxEvent
from shop.payments.ledger import GatewayOrder, Payment
from shop.payments.refunds import Refund, RefundReason
from tests.support.shop import make_checkout, make_payable, place_order, reload, run, run_remote

pytestmark = pytest.mark.django_db

STRANGE = {"id": "pay_Strange", "amount": "many", "currency": None, "email": "asha@example.com"}


@pytest.fixture
def job(gateway, now):
    return make_payable(make_checkout(now=now), gateway, now=now)


def answer(standin, route: str, *items: object) -> None:
    body = json.dumps({"entity": "collection", "count": len(items), "items": items})
    standin.set_faults(
        {"kind": "answer", "route": route, "status": 200, "body": body, "count": None}
    )


def pay_beside_a_strange_payment(job, standin) -> None:
    paid = standin.pay(GatewayOrder.objects.get().gateway_order_id)
    paid.pop("checkout")
    answer(standin, "orders.payments", STRANGE, paid)


def test_a_captured_payment_beside_it_pays(job, gateway, standin, now):
    pay_beside_a_strange_payment(job, standin)

    run_remote(CheckPayments(), gateway, now=now + timedelta(seconds=30))

    assert reload(job).state == State.PAID
    case = Case.objects.get()
    assert (case.order, case.kind) == (reload(job).order, CaseKind.UNREADABLE)
    assert case.reference == "pay_Strange"
    assert "asha" not in case.text


def test_it_is_kept_unchanged_and_once(job, gateway, standin, now):
    pay_beside_a_strange_payment(job, standin)
    for seconds in (30, 40):
        now += timedelta(seconds=seconds)
        polling.poll_now([job.order_id], now=now)
        run_remote(CheckPayments(), gateway, now=now)

    run(ReconcileWebhook(), now=now)

    [kept] = inbox.for_staff(now=now)
    assert json.loads(bytes(kept.body))["payload"]["payment"]["entity"] == STRANGE
    assert InboxEvent.objects.count() == Case.objects.count() == 1


def test_an_event_made_by_a_poll_does_not_count_as_a_webhook(job, gateway, standin, now):
    pay_beside_a_strange_payment(job, standin)

    run_remote(CheckPayments(), gateway, now=now + timedelta(seconds=30))

    assert InboxEvent.objects.exists()
    assert webhook_health.webhook_health(now=now).last_event_at is None


@pytest.mark.parametrize("receipt", ["ours", None, 7])
def test_no_second_order_is_made_while_one_cannot_be_read(receipt, gateway, standin, now):
    job = place_order(make_checkout(now=now), now=now)
    GatewayOrder.objects.update(create_sent_at=now - timedelta(minutes=2))
    receipt = job.order.number if receipt == "ours" else receipt
    answer(standin, "orders.list", {"id": "order_Strange", "receipt": receipt})

    run_remote(CreateRazorpayOrder(), gateway, now=now)

    assert reload(job).state == State.ORDERED
    assert not standin.orders()


def test_an_unreadable_order_of_another_shop_is_ignored(gateway, standin, now):
    job = place_order(make_checkout(now=now), now=now)
    GatewayOrder.objects.update(create_sent_at=now - timedelta(minutes=2))
    answer(standin, "orders.list", {"id": "order_Strange", "receipt": "theirs"})

    run_remote(CreateRazorpayOrder(), gateway, now=now)

    assert reload(job).state == State.AWAITING_PAYMENT


@pytest.fixture
def refund(job, gateway, standin, now) -> Refund:
    """Due to be sent for the second time."""
    standin.pay(GatewayOrder.objects.get().gateway_order_id)
    run_remote(CheckPayments(), gateway, now=now + timedelta(seconds=30))
    refunds.create_automatic(
        [refunds.AutomaticRefund(Payment.objects.get(), RefundReason.LATE)], now=now
    )
    Refund.objects.update(attempts=1)
    return Refund.objects.get()


def test_no_refund_is_sent_while_one_cannot_be_read(refund, gateway, standin, now):
    answer(standin, "payments.refunds", {"id": "rfnd_Strange", "amount": "some"})

    run_remote(SendRefunds(), gateway, now=now)

    assert not standin.refunds()
    refund.refresh_from_db()
    assert "rfnd_Strange cannot be read" in refund.last_error


def test_our_refund_is_found_beside_it(refund, gateway, standin, now):
    payment = refund.payment
    made = gateway.refund(
        gateway_payment_id=payment.gateway_payment_id,
        amount_paise=payment.amount_paise,
        key=refund.key,
    )
    answer(standin, "payments.refunds", {"id": "rfnd_Strange"}, *standin.refunds())

    run_remote(SendRefunds(), gateway, now=now)

    refund.refresh_from_db()
    assert refund.gateway_refund_id == made.id


def test_the_audit_names_it_and_goes_on(gateway, standin, now):
    answer(standin, "payments.list", STRANGE)

    [found] = books.gateway_differences(gateway, since=now - timedelta(days=1), now=now)

    assert (found.subject, found.text[:10]) == ("pay_Strange", "unreadable")
