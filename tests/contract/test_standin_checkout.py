"""The routes for a buyer's browser, called without a browser."""

import html
import json
import re

import pytest
import requests

from tests.support.standin import KEY_ID


@pytest.fixture
def browser(standin):
    """Calls as a page makes them: with a form and an origin, without the secret."""

    def call(verb: str, path: str, **fields: str) -> requests.Response:
        return requests.request(
            verb,
            f"{standin.base_url}/v1/{path}",
            headers={"Origin": "https://shop.example"},
            timeout=5,
            **{"data" if verb == "POST" else "params": {"key_id": KEY_ID, **fields}},
        )

    return call


@pytest.fixture
def order_id(create_order):
    return create_order()["id"]


def test_a_successful_payment_gives_the_page_three_fields(client, browser, order_id):
    reply = browser("POST", "payments/create/ajax", order_id=order_id, vpa="success@razorpay")

    assert set(reply.json()) == {
        "razorpay_payment_id",
        "razorpay_order_id",
        "razorpay_signature",
    }
    assert client.utility.verify_payment_signature(reply.json())
    assert client.order.fetch(order_id)["status"] == "paid"


def test_any_page_may_call(browser, order_id):
    reply = browser("POST", "payments/create/ajax", order_id=order_id)

    assert reply.headers["Access-Control-Allow-Origin"] == "*"


def test_a_page_may_send_a_preflight_request(browser):
    reply = browser("OPTIONS", "payments/create/ajax")

    assert reply.status_code == 204
    assert "POST" in reply.headers["Access-Control-Allow-Methods"]


@pytest.mark.parametrize(
    ("fields", "code", "reason"),
    [
        ({"vpa": "failure@razorpay"}, "BAD_REQUEST_ERROR", "payment_failed"),
        (
            {"method": "card", "card[number]": "4100 2800 0008 0001"},
            "BAD_REQUEST_ERROR",
            "insufficient_fund",
        ),
        (
            {"method": "card", "card[number]": "4100 2800 0002 0007"},
            "GATEWAY_ERROR",
            "gateway_technical_error",
        ),
    ],
)
def test_the_documented_test_values_fail(client, browser, order_id, fields, code, reason):
    reply = browser("POST", "payments/create/ajax", order_id=order_id, **fields)

    error = reply.json()["error"]
    assert reply.status_code == 400
    assert (error["code"], error["reason"]) == (code, reason)
    assert error["metadata"]["order_id"] == order_id
    assert client.payment.fetch(error["metadata"]["payment_id"])["status"] == "failed"


def test_a_failed_buyer_may_try_again_on_the_same_order(client, browser, order_id):
    browser("POST", "payments/create/ajax", order_id=order_id, vpa="failure@razorpay")

    browser("POST", "payments/create/ajax", order_id=order_id, vpa="success@razorpay")

    order = client.order.fetch(order_id)
    assert (order["status"], order["attempts"]) == ("paid", 2)


def test_a_bank_that_does_not_answer_leaves_the_payment_created(client, browser, order_id):
    reply = browser("POST", "payments/create/ajax", order_id=order_id, vpa="silent@standin").json()

    assert client.payment.fetch(reply["razorpay_payment_id"])["status"] == "created"
    assert "razorpay_signature" not in reply


def test_a_paid_order_is_not_paid_twice_by_a_page(standin, browser, order_id):
    browser("POST", "payments/create/ajax", order_id=order_id)

    again = browser("POST", "payments/create/ajax", order_id=order_id)

    assert again.json()["error"]["reason"] == "order_already_paid"
    assert standin.ledger()["totals"]["captured_paise"] == 50_000


def test_a_page_with_another_key_is_refused(browser, order_id):
    reply = browser("POST", "payments/create/ajax", order_id=order_id, key_id="rzp_test_other")

    assert reply.status_code == 401


def test_buyers_details_and_notes_reach_the_payment(client, browser, order_id):
    fields = {"email": "asha@example.com", "contact": "+919812345678", "notes[cart]": "7"}
    reply = browser("POST", "payments/create/ajax", order_id=order_id, **fields).json()

    payment = client.payment.fetch(reply["razorpay_payment_id"])

    assert (payment["email"], payment["contact"]) == ("asha@example.com", "+919812345678")
    assert payment["notes"] == {"cart": "7"}


def test_the_form_is_shown_what_is_due(browser, order_id):
    order = browser("GET", "checkout/preferences", order_id=order_id).json()["order"]

    assert (order["amount_due"], order["currency"]) == (50_000, "INR")


@pytest.mark.parametrize("path", ["checkout.js", "checkout/hosted.js"])
def test_scripts_are_served_as_scripts(browser, path):
    reply = browser("GET", path)

    assert reply.status_code == 200
    assert reply.headers["Content-Type"].startswith("text/javascript")
    assert "Razorpay" in reply.text


def test_the_hosted_page_carries_its_options_and_no_inline_script(browser, order_id):
    callback = 'https://shop.example/back?x="><script>alert(1)</script>'
    page = browser("POST", "checkout/embedded", order_id=order_id, callback_url=callback).text

    [options] = re.findall(r'data-options="([^"]*)"', page)
    assert json.loads(html.unescape(options))["callback_url"] == callback
    assert re.findall(r"<script(?![^>]* src=)", page) == []


def test_the_hosted_page_needs_an_order_of_ours(browser):
    reply = browser("POST", "checkout/embedded", order_id="order_00000000000000")

    assert reply.json()["error"]["description"] == "The id provided does not exist"
