"""The API while Redis or Postgres is unavailable."""

import json
import time
import uuid
from urllib.parse import urlencode

import pytest
from django.db import connection

from shop.checkout.jobs import CheckoutJob
from shop.db import redis_client
from shop.payments.razorpay import signatures
from tests.support.api import Caller, granted, job_of, order_form, refused
from tests.support.environment import WEBHOOK_SECRET
from tests.support.shop import make_variant, new_key

WELL_UNDER_A_SECOND = 0.7
WEBHOOK = "/api/webhooks/razorpay/"


def ring_count(redis) -> int:
    return redis.llen("checkout")


@pytest.fixture
def buyer(redis) -> Caller:
    """With a mug in the cart."""
    buyer = Caller.guest()
    buyer.add(make_variant())
    return buyer


@pytest.fixture(params=["gone", "silent"])
def redis_away(request, services, redis, buyer):
    """Redis refuses connections, or takes them and says nothing."""
    if request.param == "gone":
        services.redis.kill()
        yield
        services.redis.start()
    else:
        services.redis.freeze()
        yield
        services.redis.thaw()
    redis_client.try_again()


@pytest.mark.django_db
def test_without_redis_a_cart_is_still_accepted_quickly(redis_away, buyer):
    started = time.monotonic()

    checkout = granted(buyer.post_checkout(key=new_key()), 202)

    assert time.monotonic() - started < WELL_UNDER_A_SECOND
    assert job_of(checkout).due_at is not None


@pytest.mark.django_db
def test_without_redis_a_webhook_is_still_accepted_quickly(redis_away):
    body = b"{}"
    started = time.monotonic()

    granted(
        Caller().send(
            "POST",
            WEBHOOK,
            body,
            "application/json",
            X_Razorpay_Signature=signatures.sign(body, secret=WEBHOOK_SECRET),
        )
    )

    assert time.monotonic() - started < WELL_UNDER_A_SECOND


@pytest.mark.django_db
def test_without_redis_everything_else_works(redis_away, buyer):
    checkout = granted(buyer.post_checkout(), 202)

    started = time.monotonic()
    buyer.add(make_variant())
    buyer.status(checkout)
    granted(buyer.get("/api/products/"))
    granted(buyer.post(checkout["links"]["cancel"]), 202)
    Caller.guest()

    assert time.monotonic() - started < WELL_UNDER_A_SECOND  # it is not asked again so soon


@pytest.mark.django_db
def test_when_redis_is_back_the_next_post_notifies_again(services, redis, buyer):
    first = granted(buyer.post_checkout(), 202)
    buyer.post(first["links"]["cancel"])
    services.redis.kill()
    second = granted(buyer.post_checkout(), 202)
    buyer.post(second["links"]["cancel"])
    services.redis.start()
    redis.flushall()
    redis_client.try_again()

    third = granted(buyer.post_checkout(), 202)

    [message] = redis.lrange("checkout", 0, -1)
    assert third["id"] in json.loads(message)["headers"]["kwargsrepr"]


@pytest.fixture
def postgres_away(services, django_db_blocker, monkeypatch, tmp_path):
    """This thread's connection leads nowhere."""
    with django_db_blocker.unblock():
        connection.close()
        monkeypatch.setitem(connection.settings_dict, "HOST", str(tmp_path))
        yield
        connection.close()


@pytest.fixture
def token() -> str:
    """A genuine one, which no database was asked for."""
    from rest_framework_simplejwt.tokens import AccessToken

    token = AccessToken()
    token["user_id"] = "1"
    return str(token)


SOME_CHECKOUT = f"/api/checkouts/{uuid.UUID(int=1)}/"
CREDENTIALS = {"email": "asha@example.com", "password": "correct horse battery"}
RETURN = {
    "razorpay_payment_id": "pay_1",
    "razorpay_order_id": "order_1",
    "razorpay_signature": "0" * 64,
}


@pytest.mark.parametrize(
    ("method", "path", "content"),
    [
        ("POST", "/api/auth/register/", CREDENTIALS),
        ("POST", "/api/auth/token/", CREDENTIALS),
        ("POST", "/api/auth/guest/", None),
        ("GET", "/api/products/", None),
        ("GET", "/api/products/1/", None),
        ("GET", "/api/cart/", None),
        ("DELETE", "/api/cart/", None),
        ("POST", "/api/cart/add/", {"product_id": 1}),
        ("PATCH", "/api/cart/items/1/", {"quantity": 1}),
        ("DELETE", "/api/cart/items/1/", None),
        ("POST", "/api/cart/sync-events/", {"kind": "reload"}),
        ("POST", "/api/payments/create-from-cart/", order_form()),
        ("GET", "/api/checkouts/", None),
        ("GET", SOME_CHECKOUT, None),
        ("POST", f"{SOME_CHECKOUT}cancel/", None),
        ("POST", f"{SOME_CHECKOUT}confirm/", RETURN),
        ("GET", "/api/orders/", None),
        ("GET", "/api/orders/PK-261122-0000000000/", None),
    ],
)
def test_without_postgres_requests_get_503_with_retry_after(
    postgres_away, redis, token, method, path, content
):
    body = b"" if content is None else json.dumps(content).encode()

    response = Caller(token).send(method, path, body, "application/json", Idempotency_Key="k")

    refused(response, 503, "unavailable")
    assert int(response["Retry-After"]) >= 1


def test_without_postgres_a_refresh_gets_503_with_retry_after(postgres_away, redis):
    from rest_framework_simplejwt.tokens import RefreshToken

    token = RefreshToken()
    token["user_id"] = "1"

    response = Caller().post("/api/auth/token/refresh/", {"refresh": str(token)})

    refused(response, 503, "unavailable")


def test_without_postgres_a_webhook_gets_503(postgres_away, redis):
    body = b"{}"
    signature = signatures.sign(body, secret=WEBHOOK_SECRET)

    response = Caller().send(
        "POST", WEBHOOK, body, "application/json", X_Razorpay_Signature=signature
    )

    refused(response, 503, "unavailable")
    assert int(response["Retry-After"]) >= 1


def test_without_postgres_a_forged_event_still_gets_401(postgres_away, redis):
    refused(Caller().send("POST", WEBHOOK, b"{}", "application/json"), 401, "signature_invalid")


def test_without_postgres_a_returning_buyer_is_redirected(postgres_away, redis):
    response = Caller().send(
        "POST",
        f"{SOME_CHECKOUT}callback/",
        urlencode(RETURN).encode(),
        "application/x-www-form-urlencoded",
    )

    assert response.status_code == 303


@pytest.mark.django_db(transaction=True)
def test_a_dropped_connection_fails_one_request(redis):
    """As after a restart of Postgres: this one is asked to come back, the next is served."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        [backend] = cursor.fetchone()
    with connection.copy().cursor() as another:
        another.execute("SELECT pg_terminate_backend(%s)", [backend])

    refused(Caller().post("/api/auth/guest/"), 503, "unavailable")
    connection.close_if_unusable_or_obsolete()  # as each request does when it ends

    Caller.guest()
    assert not CheckoutJob.objects.exists()
