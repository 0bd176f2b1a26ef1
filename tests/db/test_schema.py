"""The OpenAPI schema says what the API does, and the API does what it says."""

from __future__ import annotations

import os
from io import StringIO

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

from shop.checkout.jobs import CheckoutJob
from shop.checkout.questions import CheckPayments
from shop.payments import reconcile
from shop.payments.gateway import Gateway
from shop.payments.ledger import GatewayOrder
from shop.stock import StockLevel
from shop.wsgi import application
from tests.support.api import Caller, granted, one_connection, ordered, payable
from tests.support.shop import make_variant, run_remote
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


def test_the_schema_is_valid_and_nothing_in_it_is_guessed():
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
    reconcile.ask_now([job.order_id], now=now)
    run_remote(CheckPayments(), gateway, now=now)


def test_every_stage_of_a_checkout_reads_as_the_schema_says(buyer, gateway, standin):
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


@pytest.mark.django_db
@SCHEMA.parametrize()
@FEW
def test_whatever_is_sent_the_answer_is_one_that_the_schema_knows(buyer, case):
    with one_connection():
        case.call_and_validate(headers={"Authorization": f"Bearer {buyer.access}"}, checks=CHECKS)
