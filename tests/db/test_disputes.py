"""A dispute is a case that shows its latest stage."""

import pytest

from shop.checkout.states import State
from shop.checkout.steps.reconcile_webhook import ReconcileWebhook
from shop.payments import cases
from shop.payments.cases import Case
from shop.payments.ledger import GatewayOrder
from tests.support.events import deliver
from tests.support.shop import make_buyer, make_checkout, make_payable, reload, run

pytestmark = pytest.mark.django_db


@pytest.fixture
def paid(gateway, standin, now):
    job = make_payable(make_checkout(now=now), gateway, now=now)
    deliver(standin.pay(GatewayOrder.objects.get().gateway_order_id), now=now)
    run(ReconcileWebhook(), now=now)
    return reload(job)


@pytest.fixture
def report(paid, standin, now):
    """Webhooks about one dispute come in, in the order given, each in a batch of its own."""
    [payment] = standin.payments()
    dispute = standin.call("POST", f"payments/{payment['id']}/disputes", {})

    def tell(*names: str) -> Case:
        for name in names:
            status = "under_review" if name == "action_required" else name
            reported = dispute | {"status": "open" if name == "created" else status}
            deliver(payment, name=f"payment.dispute.{name}", dispute=reported, now=now)
            run(ReconcileWebhook(), now=now)
        return Case.objects.get()

    return tell


def test_a_dispute_opens_one_case_and_the_order_stays_paid(report, paid):
    case = report("created", "created")

    assert (case.reference[:5], case.stage) == ("disp_", "open")
    assert "is disputed: ₹22,488.96, chargeback open" in case.text
    assert reload(paid).state == State.PAID


@pytest.mark.parametrize("name", ["under_review", "action_required", "won", "lost", "closed"])
def test_the_case_shows_the_stage_of_the_dispute(report, name):
    case = report("created", name)

    assert case.stage == name
    assert name in case.text
    assert case.closed_at is None


def test_a_lost_dispute_says_that_the_money_is_gone(report):
    assert "dispute is lost: ₹22,488.96 are gone" in report("created", "lost").text


@pytest.mark.parametrize("late", ["created", "under_review", "action_required", "won"])
def test_a_report_that_comes_late_does_not_bring_the_money_back(report, late):
    assert report("created", "lost", late).stage == "lost"


def test_an_unknown_stage_is_shown_and_replaced(report):
    unknown = report("escalated_to_the_moon")
    assert ("escalated_to_the_moon" in unknown.text, unknown.stage) == (True, "")

    assert report("lost").stage == "lost"


def test_a_new_report_opens_a_case_that_staff_had_closed(report, now):
    report("created")
    cases.close(Case.objects.all(), because="answered", by_id=make_buyer(now=now).pk, now=now)

    assert report("created").closed_at is not None
    assert report("lost").closed_at is None


def test_a_dispute_about_a_payment_that_is_not_ours_is_ignored(paid, standin, now):
    [payment] = standin.payments()
    dispute = {"id": "disp_1", "payment_id": "pay_Theirs", "amount": 5, "status": "open"}
    theirs = payment | {"id": "pay_Theirs", "order_id": "order_Theirs"}
    deliver(theirs, name="payment.dispute.created", dispute=dispute, now=now)

    run(ReconcileWebhook(), now=now)

    assert not Case.objects.exists()
