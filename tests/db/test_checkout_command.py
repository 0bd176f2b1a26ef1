"""`manage.py checkout`: everything about a checkout, and staff actions from a shell."""

import pytest
from django.contrib.auth.models import Group
from django.core.management import CommandError, call_command

from shop import roles
from shop.accounts import User
from shop.checkout.jobs import CheckoutJob
from shop.checkout.states import State
from shop.checkout.steps.reconcile_webhook import ReconcileWebhook
from shop.operations.audit_log import AuditEntry
from shop.payments.ledger import GatewayOrder, Payment
from tests.support.events import deliver
from tests.support.shop import make_checkout, make_payable, reload, run

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis")]


@pytest.fixture
def payable(gateway, now):
    return make_payable(make_checkout(now=now), gateway, now=now)


@pytest.fixture
def operator():
    person = User.objects.create(email="asha@example.com", is_staff=True)
    person.groups.add(Group.objects.get(name=roles.OPERATOR))
    return person


def test_it_prints_everything_about_a_checkout(payable, standin, now, capsys):
    deliver(standin.pay(GatewayOrder.objects.get().gateway_order_id), now=now)
    run(ReconcileWebhook(), now=now)
    CheckoutJob.objects.update(last_error="ValueError: asha@secret.example")
    payable.failed_attempts.create(
        state="ordered", number=2, error="Traceback\nHTTP 500: asha@secret.example", at=now
    )

    call_command("checkout", payable.order.number)

    printed = capsys.readouterr().out
    for expected in (
        f"{payable.pk}  paid  ₹22,488.96",
        "units sold",
        "units set aside",
        "ready to be paid",
        f"{Payment.objects.get().gateway_payment_id} (captured), ₹22,488.96",
        "payment.captured, settled",
        "ValueError: ",
        "create_razorpay_order, attempt 2: HTTP 500",
    ):
        assert expected in printed, expected
    assert "asha@secret" not in printed


@pytest.mark.parametrize("name", ["PK-none", "zzzz", ""])
def test_an_unknown_name_finds_no_checkout(name, payable):
    with pytest.raises(CommandError, match="no checkout"):
        call_command("checkout", name)


def test_a_name_of_several_checkouts_is_refused(payable, now):
    make_checkout(now=now)
    CheckoutJob.objects.update(owner=payable.owner)
    User.objects.filter(pk=payable.owner_id).update(email="asha@example.com", is_guest=False)

    with pytest.raises(CommandError, match="several"):
        call_command("checkout", "asha@")


def test_it_cancels_with_a_name_and_a_reason(payable, operator, capsys):
    call_command(
        "checkout", str(payable.pk), "--cancel", "--reason", "by phone", "--as", "Asha@example.com"
    )

    assert reload(payable).state == State.CANCELLED
    entry = AuditEntry.objects.get()
    assert (entry.actor, entry.action, entry.reason) == (operator, "cancel", "by phone")
    assert "cancelled while awaiting_payment" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "refusal"),
    [
        (["--cancel", "--as", "asha@example.com"], "give a reason"),
        (["--cancel", "--reason", "x"], "no member of staff"),
        (["--cancel", "--reason", "x", "--as", "viewer@example.com"], "no member of staff"),
        (["--retry", "--reason", "x", "--as", "asha@example.com"], "waits for the buyer"),
    ],
)
def test_a_refused_action_says_why(words, refusal, payable, operator):
    viewer = User.objects.create(email="viewer@example.com", is_staff=True)
    viewer.groups.add(Group.objects.get(name=roles.VIEWER))

    with pytest.raises(CommandError, match=refusal):
        call_command("checkout", str(payable.pk), *words)

    assert reload(payable).state == State.AWAITING_PAYMENT
    assert not AuditEntry.objects.exists()


def test_it_polls_razorpay(payable, operator):
    call_command("checkout", str(payable.pk), "--poll", "--reason", "x", "--as", "asha@example.com")

    assert AuditEntry.objects.get().action == "poll"
