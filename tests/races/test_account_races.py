"""The same account from several tabs at once, through the API."""

from __future__ import annotations

import pytest

from shop.accounts import User
from shop.carts import Cart
from tests.support.api import PASSWORD, Caller, granted
from tests.support.shop import make_variant
from tests.support.threads import all_at_once

pytestmark = pytest.mark.django_db(transaction=True)

EMAIL = "asha@example.com"


@pytest.fixture(autouse=True)
def unhurried(redis):
    """Empty Redis, where throttles count."""


def test_a_double_registration_makes_one_account():
    credentials = {"email": EMAIL, "password": PASSWORD}

    answers = all_at_once(*[lambda: Caller().post("/api/auth/register/", credentials)] * 6)

    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 5
    assert User.objects.get().email == EMAIL


def test_a_double_registration_leaves_no_address_in_the_log_of_postgres(services):
    """The DETAIL of a unique violation has the value."""
    log = services.postgres.log
    before = log.stat().st_size
    credentials = {"email": EMAIL, "password": PASSWORD}

    all_at_once(*[lambda: Caller().post("/api/auth/register/", credentials)] * 6)

    with log.open() as reading:
        reading.seek(before)
        written = reading.read()
    assert EMAIL not in written


def test_a_guest_who_registers_twice_at_once_keeps_one_cart():
    guest, variant = Caller.guest(), make_variant()
    guest.add(variant)
    credentials = {"email": EMAIL, "password": PASSWORD}

    answers = all_at_once(*[lambda: guest.post("/api/auth/register/", credentials)] * 4)

    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 3
    [won] = [answer for answer in answers if answer.status_code == 201]
    items = Caller(won.json()["access"]).cart()["items"]
    assert [item["variant_id"] for item in items] == [variant.pk]
    assert Cart.objects.count() == User.objects.filter(is_active=True).count() == 1


def test_tabs_can_refresh_one_token_concurrently():
    credentials = {"email": EMAIL, "password": PASSWORD}
    pair = granted(Caller().post("/api/auth/register/", credentials), 201)
    refresh = {"refresh": pair["refresh"]}

    answers = all_at_once(*[lambda: Caller().post("/api/auth/token/refresh/", refresh)] * 8)

    tokens = [granted(answer)["access"] for answer in answers]
    assert [Caller(token).get("/api/cart/").status_code for token in tokens] == [200] * 8
