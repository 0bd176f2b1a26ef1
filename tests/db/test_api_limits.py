"""The limits of body size and request rate."""

import json

import pytest

from shop.accounts import User
from shop.api.throttling import Throttle
from shop.cart_sync import SyncEvent
from shop.checkout.jobs import CheckoutJob
from tests.support.api import Caller, granted, order_form, refused
from tests.support.shop import make_variant

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis")]

LIMITED = [
    ("sign_in", "POST", "/api/auth/register/"),
    ("sign_in", "POST", "/api/auth/token/"),
    ("refresh", "POST", "/api/auth/token/refresh/"),
    ("guest", "POST", "/api/auth/guest/"),
    ("cart", "POST", "/api/cart/add/"),
    ("cart", "PATCH", "/api/cart/items/1/"),
    ("cart", "DELETE", "/api/cart/items/1/"),
    ("cart", "DELETE", "/api/cart/"),
    ("sync_events", "POST", "/api/cart/sync-events/"),
    ("checkout", "POST", "/api/payments/create-from-cart/"),
    ("checkout", "POST", "/api/checkouts/"),
    ("checkout", "POST", "/api/checkouts/00000000-0000-4000-8000-000000000000/cancel/"),
    ("confirm", "POST", "/api/checkouts/00000000-0000-4000-8000-000000000000/confirm/"),
    ("docs", "GET", "/api/schema/"),
]


@pytest.fixture
def twice_a_day(monkeypatch):
    """A window that no test crosses, unless it runs at midnight."""

    def limit(scope: str) -> None:
        monkeypatch.setitem(Throttle.THROTTLE_RATES, scope, "2/day")

    return limit


@pytest.mark.parametrize(("scope", "method", "path"), LIMITED)
def test_too_many_requests_get_429_with_retry_after(twice_a_day, scope, method, path):
    buyer = Caller.guest()
    twice_a_day(scope)

    answers = [buyer.send(method, path, b"{}", "application/json") for _ in range(3)]

    assert [answer.status_code == 429 for answer in answers] == [False, False, True]
    refused(answers[-1], 429, "throttled")
    assert 1 <= int(answers[-1]["Retry-After"]) <= 24 * 60 * 60


def test_a_throttled_request_changes_nothing(twice_a_day):
    buyer = Caller.guest()
    twice_a_day("sync_events")

    for _ in range(5):
        buyer.post("/api/cart/sync-events/", {"kind": "reload"})

    assert SyncEvent.objects.count() == 2


def test_each_caller_has_a_separate_limit(twice_a_day):
    hasty, calm = Caller.guest(), Caller.guest()
    twice_a_day("cart")
    for _ in range(3):
        hasty.delete("/api/cart/")

    assert calm.delete("/api/cart/").status_code == 200


def test_each_scope_has_a_separate_limit(twice_a_day):
    buyer = Caller.guest()
    twice_a_day("cart")
    buyer.add(make_variant())
    for _ in range(3):
        buyer.post("/api/cart/add/")

    granted(buyer.post_checkout(), 202)


def test_polling_a_checkout_is_not_throttled(twice_a_day):
    buyer = Caller.guest()
    checkout = buyer.check_out()
    for scope in Throttle.THROTTLE_RATES:
        twice_a_day(scope)

    for path in (checkout["links"]["self"], "/api/checkouts/", "/api/cart/", "/api/orders/"):
        for _ in range(5):
            granted(buyer.get(path))


def test_a_header_does_not_make_another_caller(twice_a_day):
    twice_a_day("guest")

    answers = [
        Caller().post("/api/auth/guest/", X_Forwarded_For=f"203.0.113.{n}").status_code
        for n in range(3)
    ]

    assert answers == [201, 201, 429]
    assert User.objects.count() == 2


@pytest.mark.parametrize(
    "path", ["/api/auth/register/", "/api/cart/add/", "/api/payments/create-from-cart/"]
)
def test_a_body_of_more_than_64_kib_is_too_large(path):
    buyer = Caller.guest()
    body = json.dumps(order_form(padding="x" * 64 * 1024)).encode()

    refused(buyer.send("POST", path, body, "application/json"), 413, "too_large")

    assert not CheckoutJob.objects.exists()
