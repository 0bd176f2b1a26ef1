"""The return from paying: as a call of the page, or as a form post from Razorpay."""

import uuid
from urllib.parse import urlencode

import pytest
from django.utils import timezone

from shop.checkout.jobs import CheckoutJob
from shop.checkout.states import State
from shop.checkout.steps.check_payments import CheckPayments
from shop.payments.ledger import GatewayOrder, Payment
from tests.support.api import Caller, granted, job_of, payable, refused
from tests.support.shop import run_remote

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis")]

FORM = "application/x-www-form-urlencoded"
RAZORPAYS_ERROR = {
    "error[code]": "BAD_REQUEST_ERROR",
    "error[description]": "Payment failed",
    "error[metadata]": '{"payment_id":"pay_1","order_id":"order_1"}',
}


@pytest.fixture
def buyer() -> Caller:
    return Caller.guest()


@pytest.fixture
def checkout(buyer, gateway) -> dict:
    """Payable, and not due to be asked about yet."""
    checkout = buyer.check_out()
    payable(checkout, gateway)
    return checkout


def returned_fields(standin, outcome: str = "captured") -> dict[str, str]:
    """What checkout.js hands the page."""
    return standin.pay(GatewayOrder.objects.get().gateway_order_id, outcome)["checkout"]


def is_asked_about_at_once() -> bool:
    return GatewayOrder.objects.filter(poll_at__lte=timezone.now()).exists()


def come_back(checkout: dict, fields: dict[str, str] | bytes, content_type: str = FORM):
    body = fields if isinstance(fields, bytes) else urlencode(fields).encode()
    return Caller().send(
        "POST",
        f"/api/checkouts/{checkout['id']}/callback/",
        body,
        content_type,
        Origin="https://api.razorpay.com",
    )


def test_a_genuine_return_is_paid_only_after_a_poll(buyer, checkout, gateway, standin):
    fields = returned_fields(standin)

    told = granted(buyer.post(checkout["links"]["confirm"], fields), 202)

    assert told["status"] == "awaiting_payment"
    assert "confirming" in told["message"]
    assert not Payment.objects.exists()
    assert is_asked_about_at_once()
    run_remote(CheckPayments(), gateway, now=timezone.now())
    assert buyer.status(checkout)["status"] == "paid"


def test_a_genuine_return_without_money_pays_nothing(buyer, checkout, gateway, standin):
    fields = returned_fields(standin, "authorized")

    granted(buyer.post(checkout["links"]["confirm"], fields), 202)
    run_remote(CheckPayments(), gateway, now=timezone.now())

    assert buyer.status(checkout)["status"] == "awaiting_payment"


def test_a_return_shortens_the_poll_interval(buyer, checkout, standin):
    before = buyer.status(checkout)

    after = granted(buyer.post(checkout["links"]["confirm"], returned_fields(standin)), 202)

    assert after["poll"]["after_ms"] < before["poll"]["after_ms"]
    assert after["version"] > before["version"]


def test_returning_twice_is_no_error(buyer, checkout, standin):
    fields = returned_fields(standin)

    granted(buyer.post(checkout["links"]["confirm"], fields), 202)
    granted(buyer.post(checkout["links"]["confirm"], fields), 202)


@pytest.mark.parametrize(
    "forged",
    [
        {"razorpay_signature": "0" * 64},
        {"razorpay_signature": "é"},
        {"razorpay_payment_id": "pay_another"},
        {"razorpay_order_id": "order_another"},
    ],
)
def test_a_forged_return_is_refused_and_causes_no_poll(buyer, checkout, standin, forged):
    fields = returned_fields(standin) | forged

    refused(buyer.post(checkout["links"]["confirm"], fields), 400, "signature_invalid")

    assert CheckoutJob.objects.get().returned_at is None
    assert not is_asked_about_at_once()


def test_a_genuine_return_for_another_checkout_is_refused(buyer, checkout, gateway, standin):
    fields = returned_fields(standin)
    other = Caller.guest()
    theirs = other.check_out()
    payable(theirs, gateway)

    refused(other.post(theirs["links"]["confirm"], fields), 400, "signature_invalid")


def test_nothing_can_be_confirmed_before_there_is_a_razorpay_order(buyer):
    checkout = buyer.check_out()
    fields = {
        "razorpay_payment_id": "pay_1",
        "razorpay_order_id": "",
        "razorpay_signature": "0" * 64,
    }

    refused(buyer.post(checkout["links"]["confirm"], fields), 400, "invalid")
    fields["razorpay_order_id"] = "None"
    refused(buyer.post(checkout["links"]["confirm"], fields), 400, "signature_invalid")


@pytest.mark.parametrize(
    "missing", ["razorpay_payment_id", "razorpay_order_id", "razorpay_signature"]
)
def test_a_field_that_is_missing_is_named(buyer, checkout, missing):
    fields = dict.fromkeys(
        {"razorpay_payment_id", "razorpay_order_id", "razorpay_signature"} - {missing}, "x"
    )

    refusal = refused(buyer.post(checkout["links"]["confirm"], fields), 400, "invalid")

    assert list(refusal["details"]["fields"]) == [missing]


def test_a_form_post_without_a_session_is_redirected_and_polled(checkout, standin):
    response = come_back(checkout, returned_fields(standin))

    assert (response.status_code, response["Location"]) == (303, f"/checkout/{checkout['id']}")
    assert is_asked_about_at_once()
    assert job_of(checkout).state == State.AWAITING_PAYMENT


@pytest.mark.parametrize(
    ("fields", "content_type"),
    [
        (RAZORPAYS_ERROR, FORM),
        (
            {
                "razorpay_payment_id": "pay_1",
                "razorpay_order_id": "order_1",
                "razorpay_signature": "0" * 64,
            },
            FORM,
        ),
        ({"razorpay_payment_id": "\x00"}, FORM),
        (b"", FORM),
        (b"\xff\xfe%zz&&&===", FORM),
        (b"&".join(b"a=1" for _ in range(2000)), FORM),
        (b"{}", "application/json"),
        (b"--x\r\nnonsense", "multipart/form-data; boundary=x"),
        (b"nonsense", "multipart/form-data"),
    ],
)
def test_any_other_form_post_is_redirected_and_changes_nothing(checkout, fields, content_type):
    before = job_of(checkout).version

    response = come_back(checkout, fields, content_type)

    assert (response.status_code, response["Location"]) == (303, f"/checkout/{checkout['id']}")
    assert job_of(checkout).version == before
    assert not is_asked_about_at_once()


def test_a_form_post_for_an_unknown_checkout_is_redirected_too():
    nobodys = {"id": str(uuid.uuid4())}

    response = come_back(nobodys, RAZORPAYS_ERROR)

    assert (response.status_code, response["Location"]) == (303, f"/checkout/{nobodys['id']}")


def test_a_callback_can_only_be_posted(checkout):
    response = Caller().get(f"/api/checkouts/{checkout['id']}/callback/")

    refused(response, 405, "method_not_allowed")
    assert response["Allow"] == "POST"
