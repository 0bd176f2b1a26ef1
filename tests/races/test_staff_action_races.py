"""Two members of staff, or one with two windows, act on the same row at the same moment."""

import pytest

from shop.accounts import User
from shop.checkout.states import State
from shop.checkout.steps.reconcile_webhook import ReconcileWebhook
from shop.operations import actions
from shop.operations.audit_log import ActionRefused, ActionRequest, AlreadyDone, AuditEntry
from shop.payments.ledger import GatewayOrder
from shop.payments.refunds import Refund
from tests.support.events import deliver
from tests.support.shop import make_checkout, make_payable, make_variant, reload, run, stock_of
from tests.support.threads import all_at_once

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def variant():
    return make_variant(on_hand=3)


@pytest.fixture
def payable(variant, gateway, now):
    return make_payable(make_checkout(variant, now=now), gateway, now=now)


def deliver_payment(job, standin, *, now, **changes):
    deliver(standin.pay(GatewayOrder.objects.get().gateway_order_id), now=now, **changes)
    run(ReconcileWebhook(), now=now)
    return reload(job)


@pytest.fixture
def person():
    return User.objects.create_superuser("asha@example.com", "x")


def test_one_form_sent_twice_at_once_sends_one_refund(payable, standin, person, now):
    paid = deliver_payment(payable, standin, now=now)
    by = ActionRequest(person.pk, "a double click", now)

    results = all_at_once(
        *[lambda: actions.refund(paid.order, amount_paise=100, by=by) for _ in range(6)]
    )

    assert sum(isinstance(result, AlreadyDone) for result in results) == 5, results
    assert (Refund.objects.count(), AuditEntry.objects.count()) == (1, 1)


def test_money_is_accepted_or_refunded_and_never_both(payable, variant, standin, person, now):
    in_review = deliver_payment(payable, standin, now=now, amount=payable.amount_paise - 100)
    decide = [actions.accept_money, actions.refund_all] * 3

    results = all_at_once(
        *[
            lambda action=action: action(
                in_review.pk, by=ActionRequest(person.pk, "I was first", now)
            )
            for action in decide
        ]
    )

    assert sum(isinstance(result, ActionRefused) for result in results) == 5, results
    went_back = Refund.objects.exists()
    assert reload(in_review).state == (State.REFUNDING if went_back else State.PAID)
    assert stock_of(variant) == ((3, 0) if went_back else (2, 0))
    assert AuditEntry.objects.count() == 1
