"""Staff actions in the admin: permissions, reasons, repeats and refusals."""

import uuid

import pytest
from django.contrib.auth.models import Group
from django.urls import reverse

from shop import roles
from shop.accounts import User
from shop.admin.checkouts import ACTIONS
from shop.checkout.jobs import CheckoutJob
from shop.checkout.states import State
from shop.checkout.steps.reconcile_webhook import ReconcileWebhook
from shop.operations.audit_log import AuditEntry
from shop.payments import cases
from shop.payments.cases import Case, CaseKind
from shop.payments.inbox import InboxEvent
from shop.payments.ledger import GatewayOrder, Payment
from shop.payments.refunds import Refund, RefundReason, RefundStatus
from tasks.registry import SEND_REFUNDS
from tests.support.events import deliver
from tests.support.shop import make_checkout, make_payable, place_order, reload, run

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis")]


@pytest.fixture
def sign_in(client):
    def sign_in_as(role):
        person = User.objects.create(email=f"{role}@example.com", is_staff=True)
        person.groups.add(Group.objects.get(name=role))
        client.force_login(person)
        return client

    return sign_in_as


@pytest.fixture
def payable(gateway, now):
    return make_payable(make_checkout(now=now), gateway, now=now)


def deliver_payment(job, standin, *, now, **changes):
    gateway_order_id = GatewayOrder.objects.get(order=job.order).gateway_order_id
    deliver(standin.pay(gateway_order_id), now=now, **changes)
    run(ReconcileWebhook(), now=now)
    return reload(job)


@pytest.fixture
def paid(payable, standin, now):
    return deliver_payment(payable, standin, now=now)


@pytest.fixture
def in_review(payable, standin, now):
    return deliver_payment(payable, standin, now=now, amount=payable.amount_paise - 100)


# Each action: a function that returns the page's name and a row, and the role that it needs.


def _ordered(request, now):
    return "checkoutjob", place_order(make_checkout(now=now), now=now)


def _checkout(name):
    return lambda request, now: ("checkoutjob", request.getfixturevalue(name))


def _authorized(request, now):
    payable, standin = request.getfixturevalue("payable"), request.getfixturevalue("standin")
    deliver_payment(payable, standin, now=now, status="authorized", captured=False)
    return "payment", Payment.objects.get()


def _failed_refund(request, now):
    request.getfixturevalue("paid")
    return "refund", Refund.objects.create(
        payment=Payment.objects.get(),
        amount_paise=100,
        reason=RefundReason.REQUESTED,
        key="k",
        status=RefundStatus.FAILED,
        created_at=now,
        updated_at=now,
    )


def _case(request, now):
    order_id = request.getfixturevalue("paid").order_id
    cases.open_cases([cases.Open(order_id, CaseKind.DISPUTE, "disp_1", "a bank")], now=now)
    return "case", Case.objects.get()


def _event(request, now):
    request.getfixturevalue("paid")
    return "inboxevent", InboxEvent.objects.get()


EVERY_ACTION = {
    "retry": (_ordered, roles.OPERATOR),
    "poll": (_checkout("payable"), roles.OPERATOR),
    "cancel": (_checkout("payable"), roles.OPERATOR),
    "accept": (_checkout("in_review"), roles.OPERATOR),
    "refund-all": (_checkout("in_review"), roles.REFUNDER),
    "refund": (_checkout("paid"), roles.REFUNDER),
    "capture": (_authorized, roles.OPERATOR),
    "resend": (_failed_refund, roles.REFUNDER),
    "close": (_case, roles.OPERATOR),
    "replay": (_event, roles.OPERATOR),
}
each_action = pytest.mark.parametrize("slug", EVERY_ACTION)


def url_of(table, row, slug):
    return reverse(f"admin:shop_{table}_action", args=[row.pk, slug])


def form(**changes):
    return {"reason": "the buyer asked", "key": str(uuid.uuid4()), "amount": "1.00"} | changes


def rows():
    """All rows that an action could change."""
    return [
        list(model.objects.order_by("pk").values())
        for model in (CheckoutJob, Payment, Refund, Case, InboxEvent, GatewayOrder, AuditEntry)
    ]


def test_every_action_is_tested_here():
    on_checkouts = {slug for slug, (_, _) in EVERY_ACTION.items()} & {
        action.slug for action in ACTIONS
    }
    assert on_checkouts == {action.slug for action in ACTIONS}
    assert len(EVERY_ACTION) == len(ACTIONS) + 4


@each_action
def test_a_viewer_can_change_nothing(slug, request, sign_in, now):
    table, row = EVERY_ACTION[slug][0](request, now)
    viewer = sign_in(roles.VIEWER)
    before = rows()

    assert viewer.get(url_of(table, row, slug)).status_code == 403
    assert viewer.post(url_of(table, row, slug), form()).status_code == 403
    assert rows() == before
    page = viewer.get(reverse(f"admin:shop_{table}_change", args=[row.pk])).content.decode()
    assert "/action/" not in page


@each_action
def test_an_action_needs_its_role_and_a_reason_and_leaves_an_entry(slug, request, sign_in, now):
    make, role = EVERY_ACTION[slug]
    table, row = make(request, now)
    person = sign_in(role)
    page = person.get(reverse(f"admin:shop_{table}_change", args=[row.pk])).content.decode()
    assert url_of(table, row, slug) in page
    assert person.get(url_of(table, row, slug)).status_code == 200

    answer = person.post(url_of(table, row, slug), form(), follow=True)

    entry = AuditEntry.objects.get()
    assert (entry.actor.email, entry.reason) == (f"{role}@example.com", "the buyer asked")
    assert entry.outcome in answer.content.decode().replace("&#x27;", "'")
    assert answer.redirect_chain


@each_action
def test_without_a_reason_nothing_is_done(slug, request, sign_in, now):
    table, row = EVERY_ACTION[slug][0](request, now)
    person = sign_in(roles.REFUNDER)
    before = rows()

    for reason in ("", "   ", "x" * 501):
        answer = person.post(url_of(table, row, slug), form(reason=reason))
        assert answer.context["form"].errors["reason"]

    assert rows() == before


@each_action
def test_money_goes_back_by_refunders_alone(slug, request, sign_in, now):
    make, role = EVERY_ACTION[slug]
    table, row = make(request, now)
    before = rows()

    answer = sign_in(roles.OPERATOR).post(url_of(table, row, slug), form())

    assert (answer.status_code == 403) is (role == roles.REFUNDER)
    assert (rows() == before) is (role == roles.REFUNDER)


@each_action
def test_the_same_form_sent_twice_is_carried_out_once(slug, request, sign_in, now):
    make, role = EVERY_ACTION[slug]
    table, row = make(request, now)
    person, sent = sign_in(role), form()
    person.post(url_of(table, row, slug), sent)
    before = rows()

    answer = person.post(url_of(table, row, slug), sent, follow=True)

    assert "already done" in answer.content.decode()
    assert rows() == before


def test_an_action_that_no_longer_applies_is_refused_with_a_reason(sign_in, payable, now):
    operator = sign_in(roles.OPERATOR)
    CheckoutJob.objects.update(state=State.PAID)

    answer = operator.post(url_of("checkoutjob", payable, "retry"), form())

    assert "This checkout is paid. There is nothing to retry." in answer.content.decode()
    assert not AuditEntry.objects.exists()


def test_cancelling_a_checkout_in_review_is_not_offered(sign_in, in_review):
    page = sign_in(roles.REFUNDER).get(
        reverse("admin:shop_checkoutjob_change", args=[in_review.pk])
    )

    labels = {button.label for button in page.context["buttons"]}
    assert labels == {"Ask Razorpay now", "Accept the money", "Refund everything"}


@pytest.mark.parametrize("amount", ["", "0", "-1", "1.001", "1e9", "22488.97", "a lot"])
def test_an_amount_that_cannot_go_back_is_refused(amount, sign_in, paid):
    refunder = sign_in(roles.REFUNDER)

    answer = refunder.post(url_of("checkoutjob", paid, "refund"), form(amount=amount))

    assert answer.context["form"].errors
    assert not Refund.objects.exists()


def test_the_amount_offered_is_all_that_is_left(sign_in, paid):
    refunder = sign_in(roles.REFUNDER)
    refunder.post(url_of("checkoutjob", paid, "refund"), form(amount="88.96"))

    page = refunder.get(url_of("checkoutjob", paid, "refund"))

    assert str(page.context["form"]["amount"].value()) == "22400.00"
    assert Refund.objects.get().amount_paise == 8_896


@pytest.mark.parametrize("slug", ["launder", "retry"])
def test_an_unknown_row_or_action_is_not_found(slug, sign_in, now):
    operator = sign_in(roles.OPERATOR)
    url = reverse("admin:shop_checkoutjob_action", args=[uuid.uuid4(), slug])

    assert operator.get(url).status_code == 404
    assert operator.post(url, form()).status_code == 404


def test_a_refund_notifies_the_task_that_sends_it(sign_in, paid, redis):
    sign_in(roles.REFUNDER).post(url_of("checkoutjob", paid, "refund"), form())

    assert redis.get(f"pending:{SEND_REFUNDS}")


def test_a_user_who_was_switched_off_can_do_nothing(sign_in, payable):
    operator = sign_in(roles.OPERATOR)
    User.objects.update(is_active=False)

    assert operator.post(url_of("checkoutjob", payable, "cancel"), form()).status_code == 302
    assert reload(payable).state == State.AWAITING_PAYMENT
