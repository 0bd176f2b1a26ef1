"""Rate limits of sign-ins and requests, by address and by account, in the shop and the admin."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.http import HttpRequest
from django.test import Client

from shop import roles
from shop.accounts import User
from shop.api import throttling
from shop.api.auth import issue_tokens
from shop.api.throttling import Throttle
from shop.db.redis_client import RedisUnavailable
from tests.support.api import PASSWORD, Caller, granted, refused

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis")]

EMAIL = "asha@example.com"
HOME, CAFE = "203.0.113.7", "198.51.100.1"
DOORS = ["shop", "admin"]


@pytest.fixture
def rate(monkeypatch):
    """In windows that no test crosses, unless it runs at midnight."""

    def set_rate(scope: str, most: int) -> None:
        monkeypatch.setitem(Throttle.THROTTLE_RATES, scope, f"{most}/day")

    return set_rate


@pytest.fixture
def asha():
    user = User(email=EMAIL, is_staff=True)
    user.set_password(PASSWORD)
    user.save()
    return user


def strangers() -> list[str]:
    return [f"192.0.2.{n}" for n in range(1, 20)]


def knock(door: str, *, password: str = "a guess", email: str = EMAIL, address: str = HOME) -> Any:
    """(let in?, the answer)"""
    if door == "shop":
        credentials = {"email": email, "password": password}
        response = Client().post(
            "/api/auth/token/", credentials, "application/json", REMOTE_ADDR=address
        )
        return response.status_code == 200, response
    response = Client().post(
        "/admin/login/?next=/admin/",
        {"username": email, "password": password},
        REMOTE_ADDR=address,
    )
    return response.status_code == 302, response


@pytest.mark.parametrize("door", DOORS)
def test_one_address_against_many_accounts_is_throttled(door, rate, asha):
    rate("sign_in", 3)

    codes = [knock(door, email=f"buyer{n}@example.com")[1].status_code for n in range(5)]

    assert codes[3:] == [429, 429]
    assert 429 not in codes[:3]
    is_in, response = knock(door, password=PASSWORD)
    assert not is_in
    assert 1 <= int(response["Retry-After"]) <= 24 * 60 * 60
    assert knock(door, password=PASSWORD, address=CAFE)[0]


@pytest.mark.parametrize("door", DOORS)
def test_many_addresses_against_one_account_are_throttled(door, rate, asha):
    rate("guesses", 3)

    codes = [knock(door, address=address)[1].status_code for address in strangers()]

    assert 429 not in codes[:3]
    assert set(codes[3:]) == {429}
    is_in, response = knock(door, password=PASSWORD, address=CAFE)
    assert not is_in  # a right guess is not told from a wrong one
    assert 1 <= int(response["Retry-After"]) <= 24 * 60 * 60


def test_the_shop_and_the_admin_share_one_counter(rate, asha):
    rate("guesses", 2)
    for address, door in zip(strangers(), DOORS, strict=False):
        knock(door, address=address)

    for door in DOORS:
        assert knock(door, address=CAFE)[1].status_code == 429


@pytest.mark.parametrize("door", DOORS)
def test_a_stranger_does_not_lock_the_owner_out(door, rate, asha):
    assert knock(door, password=PASSWORD, address=HOME)[0]
    rate("guesses", 3)

    for address in strangers():
        knock(door, address=address)

    assert knock(door, password=PASSWORD, address=HOME)[0]


def test_failures_from_a_known_address_are_counted_too(rate, asha):
    assert knock("shop", password=PASSWORD, address=HOME)[0]
    rate("guesses", 3)

    codes = [knock("shop", address=HOME)[1].status_code for _ in range(5)]

    assert codes == [401, 401, 401, 429, 429]


def test_registering_makes_the_address_known(rate):
    credentials = {"email": EMAIL, "password": PASSWORD}
    Client().post("/api/auth/register/", credentials, "application/json", REMOTE_ADDR=HOME)
    rate("guesses", 1)

    for address in strangers():
        knock("shop", address=address)

    assert knock("shop", password=PASSWORD, address=HOME)[0]


def test_correct_passwords_are_not_counted(rate, asha):
    rate("guesses", 2)

    for address in strangers():
        assert knock("shop", password=PASSWORD, address=address)[0]
    assert knock("shop", address=CAFE)[1].status_code == 401


def test_an_unknown_account_is_throttled_alike(rate, asha):
    rate("guesses", 2)

    answers = {
        email: [
            (response.status_code, response.content)
            for response in (knock("shop", email=email, address=it)[1] for it in strangers())
        ]
        for email in (EMAIL, "nobody@example.com")
    }

    assert answers[EMAIL] == answers["nobody@example.com"]


def test_another_spelling_is_the_same_account(rate, asha):
    rate("guesses", 2)
    for email in ("ASHA@example.com", " asha@example.com "):
        knock("shop", email=email, address=CAFE)

    assert knock("shop", address=CAFE)[1].status_code == 429


SPELLINGS = {
    "in capitals": "ASHA@EXAMPLE.COM",
    "in full width": "ａｓｈａ＠ｅｘａｍｐｌｅ．ｃｏｍ",
    "in bold": "𝐚𝐬𝐡𝐚@example.com",
    "with a long s": "aſha@example.com",
    "with a Kelvin sign of an account with k": "asha@\u212aiosk.example",
    "with spaces around": "\u3000 asha@example.com\u00a0",
    "in full-width capitals": "ＡＳＨＡ@example.com",
}


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("name", SPELLINGS)
def test_no_spelling_of_a_name_is_counted_apart(door, name, rate, asha):
    """The right password in another spelling does not pass while the plain name is throttled."""
    plain = EMAIL if "Kelvin" not in name else "asha@kiosk.example"
    User.objects.filter(pk=asha.pk).update(email=plain)
    assert knock(door, email=SPELLINGS[name], password=PASSWORD, address=HOME)[0]  # it is this one
    rate("guesses", 2)

    for address in strangers()[:2]:
        knock("shop", email=plain, address=address)

    for password in (PASSWORD, "a guess"):
        is_in, response = knock(door, email=SPELLINGS[name], password=password, address=CAFE)
        assert (is_in, response.status_code) == (False, 429)


@pytest.mark.parametrize("door", DOORS)
def test_failures_in_many_spellings_have_one_counter(door, rate, asha):
    rate("guesses", 3)
    spellings = [EMAIL[:n] + chr(ord(EMAIL[n]) + 0xFEE0) + EMAIL[n + 1 :] for n in range(4)]

    answers = [knock(door, email=it, address=CAFE)[1].status_code for it in spellings]

    assert [code == 429 for code in answers] == [False, False, False, True]


def test_an_attack_ends_no_session(rate, asha):
    rate("guesses", 1)
    rate("sign_in", 1)
    pair = issue_tokens(asha)
    for address in ("127.0.0.1", *strangers()):
        knock("shop", address=address)

    assert granted(Caller().post("/api/auth/token/refresh/", {"refresh": pair["refresh"]}))
    assert Caller(pair["access"]).cart()["items"] == []


def test_signing_in_works_without_redis(monkeypatch, asha):
    def away(command):
        raise RedisUnavailable

    monkeypatch.setattr("shop.db.redis_client.call", away)

    for door in DOORS:
        assert knock(door, password=PASSWORD)[0]
        assert knock(door)[1].status_code in {200, 401}


def test_redis_holds_no_email_addresses(redis, asha):
    knock("shop")
    knock("shop", password=PASSWORD)

    kept = [
        *redis.keys(),
        *(field for key in redis.keys("throttle:*") for field in redis.hgetall(key)),
    ]
    assert kept
    assert not [it for it in kept if b"asha" in it]


def test_counters_in_redis_expire(redis, asha):
    buyer = Caller.guest()
    buyer.delete("/api/cart/")
    knock("shop")
    knock("shop", password=PASSWORD)

    lives = {key: redis.ttl(key) for key in redis.keys("throttle:*") + redis.keys("known:*")}

    assert len(lives) >= 5
    assert all(seconds > 0 for seconds in lives.values()), lives


# --- accounts by the dozen ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scope", "method", "path"),
    [
        ("cart", "DELETE", "/api/cart/"),
        ("checkout", "POST", "/api/checkouts/"),
        ("checkout", "POST", "/api/checkouts/00000000-0000-4000-8000-000000000000/cancel/"),
        ("confirm", "POST", "/api/checkouts/00000000-0000-4000-8000-000000000000/confirm/"),
        ("sync_events", "POST", "/api/cart/sync-events/"),
    ],
)
def test_an_address_with_many_guests_is_throttled(rate, settings, scope, method, path):
    settings.CALLERS_PER_ADDRESS = 3
    guests = [Caller.guest() for _ in range(5)]
    rate(scope, 1)

    codes = [guest.send(method, path, b"{}", "application/json").status_code for guest in guests]

    assert [code == 429 for code in codes] == [False, False, False, True, True]


def test_a_throttled_caller_does_not_use_up_the_address(rate, settings):
    settings.CALLERS_PER_ADDRESS = 3
    hasty, *calm = [Caller.guest() for _ in range(3)]
    rate("cart", 1)

    for _ in range(9):
        hasty.delete("/api/cart/")

    assert [guest.delete("/api/cart/").status_code for guest in calm] == [200, 200]


def test_refunds_are_throttled(rate):
    person = User.objects.create(email="refunder@example.com", is_staff=True)
    person.groups.add(Group.objects.get(name=roles.REFUNDER))
    staff, path = (
        Caller(issue_tokens(person)["access"]),
        "/api/orders/PK-261122-0000000000/refunds/",
    )
    rate("refund", 2)

    answers = [staff.post(path, {"reason": "because"}) for _ in range(3)]

    assert [answer.status_code for answer in answers] == [404, 404, 429]
    refused(answers[-1], 429, "throttled")
    assert int(answers[-1]["Retry-After"]) >= 1


# --- where a call comes from ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "address"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("2001:db8:1:2:ffff::", "2001:db8:1:2::"),
        ("fe80::1%eth0", "fe80::"),
        ("203.0.113.7:5678", "203.0.113.7"),
        ("[2001:db8:1:2:3:4:5:6]:5678", "2001:db8:1:2::"),
        ("[2001:db8:1:2:3:4:5:6]", "2001:db8:1:2::"),
        ("[::ffff:203.0.113.7]:80", "203.0.113.7"),
        ("unknown:5678", "unknown"),
        (":80", ":80"),
        ("", ""),
        ("x" * 500, "x" * 64),
    ],
)
def test_an_address_is_what_a_caller_cannot_change(given, address):
    request = HttpRequest()
    request.META["REMOTE_ADDR"] = given

    assert throttling.address_of(request) == address


@pytest.mark.parametrize(
    ("proxies", "address"), [(0, "10.0.0.1"), (1, "203.0.113.7"), (2, "192.0.2.1")]
)
def test_only_our_own_proxies_are_trusted(monkeypatch, proxies, address):
    monkeypatch.setattr("rest_framework.throttling.api_settings.NUM_PROXIES", proxies)
    request = HttpRequest()
    request.META |= {
        "REMOTE_ADDR": "10.0.0.1",
        "HTTP_X_FORWARDED_FOR": "8.8.8.8, 192.0.2.1, 203.0.113.7",
    }

    assert throttling.address_of(request) == address
