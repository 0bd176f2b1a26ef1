"""The log: one JSON object a line, with its ids, and without secrets or personal data."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable, Iterator

import pytest
from django.conf import settings as shop_settings
from django.db import IntegrityError

from shop.api import checkouts
from shop.checkout.jobs import CheckoutJob
from shop.checkout.steps import base
from shop.payments.gateway import Declined
from shop.payments.razorpay import instrumentation
from shop.telemetry import logs, redaction
from tasks import checkout as checkout_tasks
from tasks import payments, signals
from tasks import run as runs
from tasks.notify import notify
from tasks.registry import CREATE_RAZORPAY_ORDER
from tests.support import environment
from tests.support.api import Caller
from tests.support.events import deliver
from tests.support.shop import make_checkout

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis")]

Lines = Callable[[], list[dict]]

CARD, PHONE, EMAIL = "4111111111111111", "9845012345", "asha.rao@example.in"
TOKEN = "a-token-that-somebody-left-lying-about"


@pytest.fixture
def written(monkeypatch) -> Iterator[io.StringIO]:
    """Everything that is logged, in the format of production."""
    [handler] = [
        handler
        for handler in logging.getLogger().handlers
        if type(handler) is logging.StreamHandler
    ]
    text = io.StringIO()
    before = handler.setStream(text)
    monkeypatch.setattr(logging.getLogger(), "level", logging.INFO)
    _forget_levels()
    logs.end()
    yield text
    if before:
        handler.setStream(before)
    monkeypatch.undo()
    _forget_levels()


def _forget_levels() -> None:
    logging.getLogger().manager._clear_cache()


@pytest.fixture
def lines(written: io.StringIO) -> Lines:
    return lambda: [json.loads(line) for line in written.getvalue().splitlines()]


# --- ids ---


def test_a_request_logs_a_line_with_the_id_of_its_response(client, lines):
    answer = client.get("/api/products/", HTTP_X_REQUEST_ID="from-the-proxy.1")

    [line] = [line for line in lines() if line["event"] == "request"]
    assert answer["X-Request-Id"] == line["request_id"] == "from-the-proxy.1"
    assert (line["method"], line["route"], line["status"]) == ("GET", "api/products/", 200)
    assert line["duration_ms"] > 0
    assert line["user_id"] is None


@pytest.mark.parametrize("given", ["", "a b", "x" * 65, "ü", 'a"b', "a\u2028b"])
def test_an_invalid_request_id_is_replaced(client, lines, given):
    answer = client.get("/", HTTP_X_REQUEST_ID=given)

    assert len(answer["X-Request-Id"]) == 32
    assert answer["X-Request-Id"] != given


def test_responses_of_other_middleware_have_an_id_too(client):
    answer = client.post("/api/cart/add/", b"x" * 70_000, content_type="application/json")

    assert answer.status_code == 413
    assert answer["X-Request-Id"]


def test_probes_are_not_logged(client, lines):
    client.get("/health/live")

    assert lines() == []


def test_a_line_names_the_user_and_the_checkout(lines):
    caller = Caller.guest()
    checkout_id = "00000000-0000-0000-0000-000000000000"
    caller.get(f"/api/checkouts/{checkout_id}/")

    line = lines()[-1]
    assert line["checkout_id"] == checkout_id
    assert line["user_id"]


def test_a_message_carries_the_request_id_into_the_task_and_its_calls(
    redis, lines, gateway, standin, monkeypatch, now
):
    job = make_checkout(now=now)
    logs.begin(request_id="req-1")
    notify(CREATE_RAZORPAY_ORDER, checkout_id=str(job.pk))
    [message] = redis.lrange("gateway", 0, -1)
    headers = json.loads(message)["headers"]
    assert headers["request_id"] == "req-1"
    logs.end()

    task = checkout_tasks.create_razorpay_order
    task.push_request(id="task-1", request_id=headers["request_id"])
    try:
        signals._begin(task=task, task_id="task-1", kwargs={"checkout_id": str(job.pk)})
        future = runs._threads().submit(
            gateway.create_order, receipt="r-1", amount_paise=100, currency="INR"
        )
        order = future.result(timeout=30)
        signals._end(task=task, state="SUCCESS", retval="advanced 1")
    finally:
        task.pop_request()
    logging.getLogger("elsewhere").info("afterwards")

    call, run, afterwards = lines()
    whose = {"request_id": "req-1", "task_id": "task-1", "checkout_id": str(job.pk)}
    assert call.items() >= (whose | {"operation": "create_order", "outcome": "ok"}).items()
    assert (call["receipt"], call["amount_paise"]) == ("r-1", 100)
    assert run.items() >= (whose | {"task": task.name, "result": "advanced 1"}).items()
    assert order.receipt == "r-1"
    assert "request_id" not in afterwards


def test_a_declined_call_is_logged_as_declined(lines, gateway):
    with pytest.raises(Declined):
        gateway.create_order(receipt="r", amount_paise=1, currency="INR")

    [line] = lines()
    assert (line["level"], line["outcome"]) == ("warning", "declined")
    assert "error" in line


# --- secrets and personal data ---


def assert_nothing_planted_is_in(text: str) -> None:
    for planted in (
        CARD, PHONE, EMAIL, TOKEN, environment.KEY_SECRET, environment.WEBHOOK_SECRET,
        shop_settings.SECRET_KEY, "hunter2hunter2",
    ):  # fmt: skip
        assert planted not in text


def test_requests_with_secrets_in_every_place_leave_none_in_the_log(written):
    caller = Caller.guest()
    payload = json.dumps(
        {
            "payment_method": "razorpay",
            "card": {"number": CARD},
            "email": EMAIL,
            "password": "hunter2hunter2",
            "shipping_address": {"name": "Asha", "phone": PHONE},
        }
    ).encode()
    for path in ("payments/create-from-cart/", "auth/register/", "auth/token/", "cart/add/"):
        caller.send("POST", f"/api/{path}", payload, "application/json",
                    Authorization=f"Bearer {TOKEN}", Cookie=f"sessionid={TOKEN}")  # fmt: skip
    for path in (f"/api/orders/{PHONE}/", f"/nobody/{EMAIL}/{CARD}", f"/?token={TOKEN}"):
        caller.get(path)
    caller.send("POST", "/api/webhooks/razorpay/", payload, "application/json",
                X_Razorpay_Signature=environment.WEBHOOK_SECRET)  # fmt: skip

    assert written.getvalue().count('"event":"request"') >= 8
    assert_nothing_planted_is_in(written.getvalue())


def test_a_traceback_shows_the_place_and_no_values(written, monkeypatch):
    def crash(*_arguments, **_more):
        card = CARD  # what stands in variables is never shown
        raise IntegrityError(
            f"Key (email)=({EMAIL}) exists: {environment.KEY_SECRET} {{'phone': '{PHONE}'}} {card}"
        )

    monkeypatch.setattr(checkouts.Checkouts, "get", crash)
    answer = Caller.guest().get("/api/checkouts/")

    assert answer.status_code == 500
    text = written.getvalue()
    assert "in crash" in text
    assert "IntegrityError" in text
    assert_nothing_planted_is_in(text)


def test_a_task_that_raises_keeps_no_secret_in_the_log_or_in_the_row(written, monkeypatch, now):
    job = make_checkout(now=now)

    def crash(*_arguments, **_more):
        raise ValueError(f"{environment.KEY_SECRET} {EMAIL} {CARD} Bearer {TOKEN}")

    monkeypatch.setattr(base.JobStep, "process", crash)

    checkout_tasks.validate_cart(checkout_id=str(job.pk))

    job = CheckoutJob.objects.get(pk=job.pk)
    [attempt] = job.failed_attempts.all()
    for text in (written.getvalue(), job.last_error, attempt.error):
        assert "ValueError" in text
        assert_nothing_planted_is_in(text)


def test_a_webhook_that_cannot_be_handled_leaves_no_content_in_the_log(written, now):
    deliver({"id": "pay_1", "status": "captured", "email": EMAIL, "contact": PHONE}, now=now)

    payments.reconcile_webhook(event_id="evt")

    assert_nothing_planted_is_in(written.getvalue())


def test_the_settings_give_their_secrets_to_the_redaction():
    assert {environment.KEY_SECRET, environment.WEBHOOK_SECRET, shop_settings.SECRET_KEY} <= set(
        redaction._secrets
    )


def test_a_bug_in_a_call_is_logged_as_a_bug(lines):
    class Broken:
        @instrumentation.instrumented
        def refund(self, *, gateway_payment_id: str) -> None:
            raise KeyError(gateway_payment_id)

    with pytest.raises(KeyError):
        Broken().refund(gateway_payment_id="pay_1")

    [line] = lines()
    assert (line["outcome"], line["gateway_payment_id"]) == ("bug", "pay_1")
