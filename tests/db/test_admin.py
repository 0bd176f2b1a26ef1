"""Operations see everything in the admin, and cannot move what only steps may move."""

import pytest
from django.urls import reverse

from shop.accounts import User
from shop.payments import cases
from tests.support.shop import make_checkout, make_payable, place_order

pytestmark = pytest.mark.django_db

TABLES = (
    "checkoutjob",
    "order",
    "gatewayorder",
    "payment",
    "inboxevent",
    "refund",
    "case",
    "product",
    "stocklevel",
    "user",
    "cart",
    "syncevent",
)


@pytest.fixture
def operator(client):
    client.force_login(User.objects.create_superuser("ops@example.com", "x"))
    return client


@pytest.mark.parametrize("table", TABLES)
def test_every_list_opens_and_can_be_searched(table, operator, now):
    place_order(make_checkout(now=now), now=now)

    assert operator.get(reverse(f"admin:shop_{table}_changelist")).status_code == 200
    assert operator.get(reverse(f"admin:shop_{table}_changelist") + "?q=PK-").status_code == 200


def test_a_checkout_is_found_by_its_order_number(operator, now):
    job = place_order(make_checkout(now=now), now=now)
    make_checkout(now=now)

    page = operator.get(
        reverse("admin:shop_checkoutjob_changelist"), {"q": job.order.number}
    ).content.decode()

    assert str(job.pk) in page
    assert "1 checkout job" in page


def test_a_checkout_shows_its_timeline_and_no_way_to_edit_it(operator, now):
    job = place_order(make_checkout(now=now), now=now)

    page = operator.get(reverse("admin:shop_checkoutjob_change", args=[job.pk])).content.decode()

    assert "units set aside" in page
    assert 'name="_save"' not in page


def test_the_operations_page_shows_what_needs_a_person(operator, gateway, now):
    job = make_payable(make_checkout(now=now), gateway, now=now)
    case = cases.Open(job.order_id, cases.CaseKind.DISPUTE, "disp_1", "a bank wants money back")
    cases.open_cases([case], now=now)
    stuck = make_checkout(now=now)

    page = operator.get(reverse("ops")).content.decode()

    assert "a bank wants money back" in page
    assert str(stuck.pk) in page


def test_the_operations_page_is_for_staff(client):
    assert client.get(reverse("ops")).status_code == 302
