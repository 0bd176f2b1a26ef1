"""The OpenAPI schema says what the API does, and the API does what it says."""

from __future__ import annotations

import os
import re
from io import StringIO

import jsonschema_rs
import pytest
import schemathesis
from django.core.management import call_command
from django.utils import timezone
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from shop.api import idempotency
from shop.checkout.jobs import CheckoutJob
from shop.checkout.steps.check_payments import CheckPayments
from shop.payments import polling
from shop.payments.gateway import Gateway
from shop.payments.ledger import GatewayOrder
from shop.stock import StockLevel
from shop.wsgi import application
from tests.support.api import Caller, granted, one_connection, order_form, ordered, payable
from tests.support.shop import ADDRESS, make_variant, run_remote
from tests.support.standin import StandIn

SCHEMA = schemathesis.openapi.from_wsgi("/api/schema/", application)
CHECKS = (
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
)
FEW = settings(
    max_examples=int(os.environ.get("SCHEMATHESIS_EXAMPLES") or 6),  # of each operation
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)


def test_the_schema_is_valid_without_warnings():
    call_command("spectacular", validate=True, fail_on_warn=True, stdout=StringIO())


@pytest.fixture
def buyer(db, redis, unhurried):
    """With a mug in the cart and a checkout."""
    buyer = Caller.guest()
    buyer.check_out(make_variant())
    return buyer


def call(buyer: Caller, operation: str, **path: object) -> None:
    method, template = operation.split()
    case = SCHEMA[template][method].Case(path_parameters=path)
    with one_connection():
        answer = case.call(headers={"Authorization": f"Bearer {buyer.access}"})
        assert answer.status_code in {200, 202}
        case.validate_response(answer, checks=CHECKS)


def pay(job: CheckoutJob, gateway: Gateway, standin: StandIn, outcome: str) -> None:
    standin.pay(GatewayOrder.objects.get(order=job.order).gateway_order_id, outcome)
    now = timezone.now()
    polling.poll_now([job.order_id], now=now)
    run_remote(CheckPayments(), gateway, now=now)


def test_every_state_of_a_checkout_matches_the_schema(buyer, gateway, standin):
    checkout = granted(buyer.get("/api/checkouts/"))["results"][0]
    product_id = buyer.cart()["items"][0]["product_id"]

    def look() -> None:
        call(buyer, "GET /api/checkouts/{job_id}/", job_id=checkout["id"])

    look()
    job = payable(checkout, gateway)
    look()
    pay(job, gateway, standin, "failed")
    look()
    call(buyer, "GET /api/cart/")
    call(buyer, "GET /api/products/{id}/", id=product_id)
    call(buyer, "GET /api/orders/{number}/", number=job.order.number)
    call(buyer, "GET /api/orders/")
    call(buyer, "POST /api/checkouts/{job_id}/cancel/", job_id=checkout["id"])
    StockLevel.objects.update(on_hand=0)
    pay(job, gateway, standin, "captured")
    look()
    assert buyer.status(checkout)["refund"]
    buyer.add(make_variant(on_hand=0))
    checkout = granted(buyer.post_checkout(), 202)
    ordered(checkout)
    look()  # failed: out of stock
    call(buyer, "GET /api/checkouts/")


CREDENTIALS = {"email": "asha@example.com", "password": "correct horse"}
RECEIPT = dict.fromkeys(("razorpay_payment_id", "razorpay_order_id", "razorpay_signature"), "x")
# What the API refuses whatever the state of the shop, and so must the schema.
REFUSED_BODIES = [
    ("/api/auth/register/", CREDENTIALS | {"password": "short"}),
    ("/api/auth/register/", CREDENTIALS | {"email": "nobody"}),
    ("/api/auth/token/", CREDENTIALS | {"password": ""}),
    ("/api/auth/token/refresh/", {"refresh": ""}),
    ("/api/cart/items/{item_id}/", {}),
    ("/api/cart/items/{item_id}/", {"quantity": 101}),
    ("/api/cart/sync-events/", {"kind": ""}),
    ("/api/checkouts/", order_form(payment_method="cash")),
    ("/api/checkouts/", order_form(currency="USD")),
    ("/api/checkouts/", order_form(shipping_address=ADDRESS | {"name": ""})),
    ("/api/checkouts/", order_form(shipping_address=ADDRESS | {"country": "US"})),
    ("/api/checkouts/", order_form(shipping_address=ADDRESS | {"postal_code": "060001"})),
    ("/api/checkouts/", order_form(shipping_address=ADDRESS | {"phone": "12345 67890"})),
    ("/api/checkouts/{job_id}/confirm/", RECEIPT | {"razorpay_signature": ""}),
]


@pytest.mark.parametrize(("path", "body"), REFUSED_BODIES)
def test_what_the_api_refuses_the_schema_refuses(buyer, path, body):
    method = "patch" if "items" in path else "post"
    item = granted(buyer.get("/api/cart/"))["items"][0]["id"]
    job = granted(buyer.get("/api/checkouts/"))["results"][0]["id"]
    answer = getattr(buyer, method)(path.format(item_id=item, job_id=job), body)

    assert answer.status_code == 400, answer.content
    assert not accepts(path, method, body)


@pytest.mark.parametrize("typed", ["+91 98450-12345", "098450 12345", "(98450) 12345"])
def test_the_schema_accepts_typed_addresses(buyer, typed):
    form = order_form(shipping_address=ADDRESS | {"phone": typed, "postal_code": " 560 001"})

    assert accepts("/api/checkouts/", "post", form)
    granted(buyer.post("/api/checkouts/", form), 202)


@pytest.mark.parametrize("key", ["x" * 256, " x", "ä"])
@pytest.mark.parametrize("path", ["/api/checkouts/", "/api/orders/{number}/refunds/"])
def test_the_schema_describes_valid_keys(path, key):
    [said] = [
        parameter["schema"]
        for parameter in SCHEMA.raw_schema["paths"][path]["post"]["parameters"]
        if parameter["name"] == "Idempotency-Key"
    ]

    assert not jsonschema_rs.is_valid(said, key)
    assert not re.fullmatch(idempotency.PATTERN, key)


def test_error_responses_declare_their_headers():
    for operations in SCHEMA.raw_schema["paths"].values():
        for operation in operations.values():
            answers = operation["responses"]
            assert {"406", "413", "503"} <= set(answers)
            for status, header in (
                ("401", "WWW-Authenticate"),
                ("429", "Retry-After"),
                ("503", "Retry-After"),
            ):
                assert status not in answers or answers[status]["headers"][header]["required"]


def accepts(path: str, method: str, body: object) -> bool:
    """Whether the schema takes this body."""
    content = SCHEMA.raw_schema["paths"][path][method]["requestBody"]["content"]
    schema = content["application/json"]["schema"] | {"components": SCHEMA.raw_schema["components"]}
    return jsonschema_rs.validator_for(schema, validate_formats=True).is_valid(body)


@pytest.mark.django_db
@SCHEMA.parametrize()
@FEW
def test_every_response_matches_the_schema(buyer, case):
    with one_connection():
        case.call_and_validate(headers={"Authorization": f"Bearer {buyer.access}"}, checks=CHECKS)
