"""Faults on request: each kind, before and after the work."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
from razorpay.errors import BadRequestError, ServerError
from requests.exceptions import ChunkedEncodingError, JSONDecodeError, ReadTimeout

ORDER = {"amount": 50_000, "currency": "INR", "receipt": "cart-7"}
IMPATIENT_SECONDS = 0.3


@pytest.fixture
def with_fault(standin):
    def set_one(kind: str, when: str = "before", **options: object) -> None:
        standin.set_faults({"kind": kind, "when": when, "route": "orders.create", **options})

    return set_one


@pytest.mark.parametrize(("when", "orders"), [("before", 0), ("after", 1)])
@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("hang", ReadTimeout),
        ("reset", requests.ConnectionError),
        ("too_many_requests", BadRequestError),
        ("server_error", ServerError),
        ("bad_gateway", JSONDecodeError),
        ("gateway_timeout", JSONDecodeError),
        ("operation_in_progress", BadRequestError),
        ("conflict", BadRequestError),
    ],
)
def test_a_fault_applies_before_or_after_the_work(
    standin, client, with_fault, kind, error, when, orders
):
    with_fault(kind, when)

    with pytest.raises(error):
        client.order.create(ORDER, timeout=IMPATIENT_SECONDS)

    assert len(standin.orders()) == orders


def test_a_reset_is_not_a_clean_close(http, with_fault):
    with_fault("reset")

    with pytest.raises(requests.ConnectionError, match="reset by peer"):
        http("POST", "orders", json=ORDER)


@pytest.mark.parametrize(
    ("kind", "status", "content"),
    [
        ("too_many_requests", 429, "Too many requests"),
        ("server_error", 500, "SERVER_ERROR"),
        ("bad_gateway", 502, "<html>"),
        ("gateway_timeout", 504, ""),
        ("operation_in_progress", 400, "another payment operation is in progress"),
        ("conflict", 409, "BAD_REQUEST_ERROR"),
    ],
)
def test_a_fault_answers_with_its_status(http, with_fault, kind, status, content):
    with_fault(kind)

    response = http("POST", "orders", json=ORDER)

    assert response.status_code == status
    assert content in response.text


@pytest.mark.parametrize(("seconds", "header"), [(2, "2"), (None, None)])
def test_a_rate_limit_may_have_a_retry_after(http, with_fault, seconds, header):
    with_fault("too_many_requests", retry_after_seconds=seconds)

    assert http("POST", "orders", json=ORDER).headers.get("Retry-After") == header


def test_any_answer_can_be_set(http, with_fault):
    with_fault("answer", status=200, body="null")

    assert http("POST", "orders", json=ORDER).json() is None


def test_a_fault_counts_down_with_each_call(http, with_fault):
    with_fault("server_error", count=2)

    statuses = [http("POST", "orders", json=ORDER).status_code for _ in range(3)]

    assert statuses == [500, 500, 200]


def test_a_fault_without_a_count_stays_until_removed(http, standin, with_fault):
    with_fault("server_error", count=None)
    statuses = {http("POST", "orders", json=ORDER).status_code for _ in range(5)}

    standin.set_faults()

    assert statuses == {500}
    assert http("POST", "orders", json=ORDER).status_code == 200


def test_a_fault_does_not_apply_to_other_routes(http, with_fault):
    with_fault("server_error", count=None)

    assert http("GET", "orders").status_code == 200


def test_a_fault_can_apply_to_every_route(http, standin):
    standin.set_faults({"kind": "server_error", "route": "*", "count": None})

    assert http("GET", "orders").status_code == 500


def test_a_rate_applies_to_some_calls(http, standin, with_fault):
    with_fault("server_error", count=None, rate=0.5)

    statuses = [http("GET", "orders").status_code for _ in range(3)]
    statuses += [http("POST", "orders", json=ORDER).status_code for _ in range(40)]

    assert 5 < statuses.count(500) < 35  # 20 expected; this far off once in a million


def test_faults_of_one_call_apply_in_sequence(http, standin):
    standin.set_faults(
        {"kind": "bad_gateway", "route": "orders.create"},
        {"kind": "gateway_timeout", "route": "orders.create", "when": "after"},
    )

    statuses = [http("POST", "orders", json=ORDER).status_code for _ in range(3)]

    assert statuses == [502, 504, 200]
    assert len(standin.orders()) == 2


def test_a_slow_body_arrives_whole(http, standin, with_fault):
    with_fault("slow_body", seconds=0.5)
    began = time.monotonic()

    response = http("POST", "orders", json=ORDER)

    assert time.monotonic() - began > 0.4
    assert response.json()["id"] == standin.orders()[0]["id"]


def test_a_truncated_body_breaks_off_after_the_work(http, standin, with_fault):
    with_fault("truncated_body")

    with pytest.raises((ChunkedEncodingError, requests.ConnectionError)):
        http("POST", "orders", json=ORDER)

    assert len(standin.orders()) == 1


def test_a_stalled_create_happens_though_the_caller_gave_up(http, standin, with_fault):
    with_fault("stall", seconds=0.6)
    with pytest.raises(ReadTimeout):
        http("POST", "orders", json=ORDER, timeout=IMPATIENT_SECONDS)
    at_once = standin.orders()

    deadline = time.monotonic() + 5
    while not standin.orders() and time.monotonic() < deadline:
        standin.health()

    assert at_once == []
    assert len(standin.orders()) == 1


@pytest.mark.parametrize(("verb", "path"), [("DELETE", "faults"), ("POST", "reset")])
def test_a_hanging_call_ends_with_the_faults(http, standin, with_fault, verb, path):
    with_fault("hang")
    with ThreadPoolExecutor(1) as pool:
        hanging = pool.submit(http, "POST", "orders", json=ORDER, timeout=20)
        while standin.traffic()["in_flight"] == 0:
            assert not hanging.done()
        standin.call(verb, path)

        with pytest.raises(requests.ConnectionError):
            hanging.result(timeout=5)


def test_a_payment_is_free_again_when_a_hanging_caller_gives_up(http, standin, create_order):
    payment = standin.pay(create_order()["id"])
    standin.set_faults({"kind": "hang", "route": "payments.refund", "when": "after"})
    path = f"payments/{payment['id']}/refund"
    with pytest.raises(ReadTimeout):
        http("POST", path, json={"amount": 100}, timeout=IMPATIENT_SECONDS)

    deadline = time.monotonic() + 5
    while standin.traffic()["in_flight"] and time.monotonic() < deadline:
        pass

    assert http("POST", path, json={"amount": 100}).status_code == 200
    assert standin.ledger()["totals"]["refunded_paise"] == 200


def test_latency_is_added_to_every_answer(http, standin):
    standin.settings(latency_ms=150)

    assert http("GET", "orders").elapsed.total_seconds() > 0.15


def test_calls_are_counted_by_route_and_answer(http, standin, with_fault):
    with_fault("reset")
    with pytest.raises(requests.ConnectionError):
        http("POST", "orders", json=ORDER)
    http("POST", "orders", json=ORDER)
    http("POST", "orders", json={})
    http("GET", "orders/order_00000000000000")
    http("GET", "nonsense")

    assert standin.requests() == {
        "orders.create": {"reset": 1, "200": 1, "400": 1},
        "orders.fetch": {"400": 1},
        "unknown": {"404": 1},
    }


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ({}, "kind is missing"),
        ({"kind": "explode"}, "kind='explode', must be hang or"),
        ({"kind": "hang", "route": "orders.creat"}, "route='orders.creat'"),
        ({"kind": "hang", "when": "during"}, "when='during', must be before or after"),
        ({"kind": "hang", "count": 0}, "count=0"),
        ({"kind": "hang", "colour": "red"}, "colour: there is no such setting"),
    ],
)
def test_a_misspelt_fault_is_refused_and_not_ignored(standin, fault, message):
    with pytest.raises(requests.HTTPError) as refusal:
        standin.set_faults(fault)

    assert refusal.value.response.status_code == 400
    assert message in refusal.value.response.json()["error"]["description"]


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"receipt_mode": "maybe"}, "must be accept or reject or reject_with_id"),
        ({"latency_ms": "fast"}, "latency_ms='fast', must be a number"),
        ({"latency_ms": -1}, "must not be below zero"),
        ({"time_scale": 0}, "must be above zero"),
        ({"auto_capture": 1}, "must be true or false"),
        ({"colour": "red"}, "colour: there is no such setting"),
    ],
)
def test_a_wrong_setting_changes_nothing(standin, setting, message):
    before = standin.settings()
    with pytest.raises(requests.HTTPError) as refusal:
        standin.settings(maximum_amount_paise=1, **setting)

    assert message in refusal.value.response.json()["error"]["description"]
    assert standin.settings() == before


def test_a_fault_can_apply_to_one_order_only(client, standin):
    sick, well = (client.order.create(ORDER)["id"] for _ in range(2))
    standin.set_faults({"kind": "server_error", "route": "orders.payments", "id": sick})

    assert client.order.payments(well)["items"] == []
    with pytest.raises(ServerError):
        client.order.payments(sick)
