"""Events that end a session, and the rights of tokens of an ended session."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import Group
from django.test import Client

from shop import roles
from shop.accounts import User
from shop.carts import Cart
from tests.support.api import PASSWORD, POST_CHECKOUT, Caller, granted, order_form, refused
from tests.support.shop import make_variant

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis", "unhurried")]

REGISTER, SIGN_IN, SIGN_OUT, REFRESH, GUEST = (
    f"/api/auth/{name}/" for name in ("register", "token", "sign-out", "token/refresh", "guest")
)
EMAIL = "asha@example.com"
ASHA = {"email": EMAIL, "password": PASSWORD}
REFUND = "/api/orders/PK-261122-0000000000/refunds/"


def fresh_guest() -> tuple[Caller, str]:
    """A guest with a full cart, and their refresh token."""
    pair = granted(Caller().post(GUEST), 201)
    guest = Caller(pair["access"])
    guest.add(make_variant())
    return guest, pair["refresh"]


def refresh(token: str) -> Caller:
    return Caller(granted(Caller().post(REFRESH, {"refresh": token}))["access"])


def assert_opens_nothing(guest: Caller, checkout: dict) -> None:
    sent = order_form()
    for response in (
        guest.get("/api/cart/"),
        guest.delete("/api/cart/"),
        guest.delete("/api/cart/items/1/"),
        guest.patch("/api/cart/items/1/", {"quantity": 2}),
        guest.get("/api/checkouts/"),
        guest.get("/api/orders/"),
        guest.get("/api/orders/PK-261122-0000000000/"),
        guest.get(checkout["links"]["self"]),
        guest.get(checkout["links"]["self"], Accept="text/html, */*"),
        guest.post(checkout["links"]["cancel"]),
        guest.post(POST_CHECKOUT, sent),
        guest.post(POST_CHECKOUT, sent, Idempotency_Key="another"),
    ):
        refused(response, 401, "token_not_valid")


@pytest.mark.parametrize("joins", ["registers", "signs in"])
@pytest.mark.parametrize("is_open", [True, False])
def test_the_tokens_of_a_merged_guest_are_refused(joins, is_open):
    if joins == "signs in":
        Caller.account(EMAIL).add(make_variant())
    guest, token = fresh_guest()
    checkout = granted(guest.post_checkout(), 202)
    if not is_open:
        granted(guest.post(checkout["links"]["cancel"]), 202)

    answer = guest.post(REGISTER if joins == "registers" else SIGN_IN, ASHA)
    pair = granted(answer, 201 if joins == "registers" else 200)

    refused(Caller().post(REFRESH, {"refresh": token}), 401, "no_active_account")
    assert_opens_nothing(guest, checkout)
    account = refresh(pair["refresh"])
    assert account.user_id == User.objects.get(email=EMAIL).pk
    assert account.status(checkout)["id"] == checkout["id"]
    assert account.cart()["items_count"] == (1 if joins == "registers" else 2)


def test_the_idempotency_key_of_a_guest_is_known_to_the_account():
    guest, _ = fresh_guest()
    checkout = granted(guest.post_checkout(key="mine"), 202)

    account = Caller(granted(guest.post(REGISTER, ASHA), 201)["access"])

    assert granted(account.post_checkout(key="mine"), 202)["id"] == checkout["id"]


def test_a_guest_without_a_cart_becomes_an_account():
    guest = Caller.guest()

    account = Caller(granted(guest.post(REGISTER, ASHA), 201)["access"])

    assert account.cart()["items"] == []
    refused(guest.get("/api/cart/"), 401, "token_not_valid")
    assert Cart.objects.count() == 1


def test_a_refused_registration_ends_no_session():
    Caller.account(EMAIL)
    guest, token = fresh_guest()

    refused(guest.post(REGISTER, ASHA), 409, "email_taken")

    assert refresh(token).cart()["items_count"] == 1


def test_a_new_password_ends_refresh_tokens():
    pair = granted(Caller().post(REGISTER, ASHA), 201)
    user = User.objects.get()
    user.set_password("another long password")
    user.save()

    refused(Caller().post(REFRESH, {"refresh": pair["refresh"]}), 401, "session_ended")
    again = granted(Caller().post(SIGN_IN, ASHA | {"password": "another long password"}))
    refresh(again["refresh"])


def test_signing_out_ends_every_session_of_the_user():
    here = granted(Caller().post(REGISTER, ASHA), 201)["refresh"]
    there = granted(Caller().post(SIGN_IN, ASHA))["refresh"]
    other = granted(Caller().post(GUEST), 201)["refresh"]

    assert Caller().post(SIGN_OUT, {"refresh": here}).status_code == 204

    for token in (here, there):
        refused(Caller().post(REFRESH, {"refresh": token}), 401, "session_ended")
    refresh(other)
    refresh(granted(Caller().post(SIGN_IN, ASHA))["refresh"])


def test_an_ended_token_ends_no_session():
    old = granted(Caller().post(REGISTER, ASHA), 201)["refresh"]
    Caller().post(SIGN_OUT, {"refresh": old})
    new = granted(Caller().post(SIGN_IN, ASHA))["refresh"]

    for token in (old, "not.a.token", Caller.guest().access):
        assert Caller().post(SIGN_OUT, {"refresh": token}).status_code == 204

    refresh(new)
    refused(Caller().post(SIGN_OUT, {}), 400, "invalid")


@pytest.fixture
def refunder() -> User:
    person = User(email=EMAIL, is_staff=True)
    person.set_password(PASSWORD)
    person.save()
    person.groups.add(Group.objects.get(name=roles.REFUNDER))
    return person


def by_api(person: User, refresh_token: str) -> None:
    Caller().post(SIGN_OUT, {"refresh": refresh_token})


def by_admin(person: User, refresh_token: str) -> None:
    client = Client()
    client.force_login(person)
    assert client.post("/admin/logout/").status_code == 200


def by_password(person: User, refresh_token: str) -> None:
    person.set_password("another long password")
    person.save()


@pytest.mark.parametrize("end", [by_api, by_admin, by_password])
def test_no_refund_is_made_with_a_token_of_an_ended_session(refunder, end):
    pair = granted(Caller().post(SIGN_IN, ASHA))
    staff = Caller(pair["access"])
    refused(staff.post(REFUND, {"reason": "because"}), 404, "not_found")

    end(refunder, pair["refresh"])

    refused(staff.post(REFUND, {"reason": "because"}), 401, "session_ended")
    refused(Caller().post(REFRESH, {"refresh": pair["refresh"]}), 401, "session_ended")
