"""Refunds by staff, and by nobody else."""

import pytest
from django.contrib.auth.models import Group

from shop import roles
from shop.accounts import User
from shop.api.auth import issue_tokens
from shop.operations.audit_log import AuditEntry
from shop.payments.refunds import Refund
from tests.support.api import Caller
from tests.support.payments import pay_and_poll
from tests.support.shop import make_checkout, make_payable, reload

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis")]


@pytest.fixture
def paid(gateway, standin, now):
    job = make_payable(make_checkout(now=now), gateway, now=now)
    pay_and_poll(job, gateway, standin, now=now)
    return reload(job)


@pytest.fixture
def staff():
    return Caller(issue_tokens(User.objects.create_superuser("staff@example.com", "x"))["access"])


def path(job) -> str:
    return f"/api/orders/{job.order.number}/refunds/"


def test_staff_can_refund_all_that_is_left(paid, staff):
    answer = staff.post(path(paid), {"reason": "arrived broken"})

    assert answer.status_code == 202
    assert answer.json()["amount_paise"] == paid.amount_paise
    assert Refund.objects.get().note == "arrived broken"


def test_more_than_is_left_is_refused_with_the_rest(paid, staff):
    staff.post(path(paid), {"reason": "a part", "amount_paise": paid.amount_paise - 100})

    answer = staff.post(path(paid), {"reason": "too much", "amount_paise": 101})

    assert (answer.status_code, answer.json()["code"]) == (409, "refund_refused")
    assert answer.json()["details"] == {"left_paise": 100}


def test_a_request_repeated_under_its_key_is_the_same_refund(paid, staff):
    request = {"reason": "a part", "amount_paise": 100}

    first, again = (staff.post(path(paid), request, idempotency_key="k-1") for _ in range(2))

    assert (again.status_code, again.json()) == (202, first.json())
    assert again["Idempotent-Replayed"] == "true"
    assert Refund.objects.count() == 1
    assert staff.post(path(paid), request, idempotency_key="k-2").status_code == 202
    assert Refund.objects.count() == 2


def test_a_key_of_another_refund_is_refused(paid, staff):
    staff.post(path(paid), {"reason": "a part", "amount_paise": 100}, idempotency_key="k-1")

    answer = staff.post(path(paid), {"reason": "more", "amount_paise": 200}, idempotency_key="k-1")

    assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_key_reused")
    assert Refund.objects.count() == 1


def test_a_buyer_cannot_refund(paid):
    buyer = Caller(issue_tokens(paid.owner)["access"])

    assert buyer.post(path(paid), {"reason": "I would like to"}).status_code == 403
    assert not Refund.objects.exists()


@pytest.mark.parametrize(
    ("role", "status_code"), [(roles.VIEWER, 403), (roles.OPERATOR, 403), (roles.REFUNDER, 202)]
)
def test_money_goes_back_by_refunders_alone(role, status_code, paid):
    person = User.objects.create(email=f"{role}@example.com", is_staff=True)
    person.groups.add(Group.objects.get(name=role))
    caller = Caller(issue_tokens(person)["access"])

    assert caller.post(path(paid), {"reason": "broken"}).status_code == status_code
    assert Refund.objects.exists() is (status_code == 202)


def test_the_permission_without_staff_status_does_not_refund(paid):
    person = User.objects.create(email="former@example.com")
    person.groups.add(Group.objects.get(name=roles.REFUNDER))

    answer = Caller(issue_tokens(person)["access"]).post(path(paid), {"reason": "broken"})

    assert answer.status_code == 403


def test_a_refund_by_the_api_is_in_the_audit_log(paid, staff):
    staff.post(path(paid), {"reason": "arrived broken", "amount_paise": 100})

    entry = AuditEntry.objects.get()
    assert (entry.actor_id, entry.action, entry.reason) == (
        staff.user_id, "refund", "arrived broken",
    )  # fmt: skip
    assert (entry.checkout_id, entry.subject) == (paid.pk, f"order {paid.order.number}")


def test_former_staff_cannot_refund(paid, staff):
    User.objects.filter(pk=staff.user_id).update(is_staff=False)

    assert staff.post(path(paid), {"reason": "revenge"}).status_code == 403


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"reason": ""},
        {"reason": "x", "amount_paise": 0},
        {"reason": "x", "amount_paise": "1.5"},
    ],
)
def test_a_refund_needs_a_reason_and_a_whole_amount(body, paid, staff):
    assert staff.post(path(paid), body).status_code == 400


def test_an_unknown_order_is_not_found(staff):
    assert staff.post("/api/orders/PK-1/refunds/", {"reason": "x"}).status_code == 404
