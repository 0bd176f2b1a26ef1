"""Webhooks without an answer of 2xx in time are retried for a day, as measured."""

import socket
import threading
from itertools import pairwise
from typing import Any

import pytest

from tests.support.standin import settled

DAY_SECONDS = 24 * 60 * 60
PAID_EVENTS = ["payment.authorized", "payment.captured", "order.paid"]


@pytest.mark.parametrize(("status", "tries"), [(500, 16), (400, 15), (302, 15)])
def test_an_answer_other_than_2xx_is_retried_for_a_day(
    standin, receiver, create_order, status, tries
):
    standin.settings(time_scale=100_000)
    receiver.status = status
    standin.pay(create_order()["id"], "authorized")

    received = receiver.wait_for(tries)
    settled(lambda: all(e["disabled"] for e in standin.endpoints()))

    assert len(receiver.received) == tries
    assert {body for _, _, body in received} == {received[0][2]}
    assert {h["X-Razorpay-Signature"] for _, h, _ in received} == {
        received[0][1]["X-Razorpay-Signature"]
    }
    assert {h["X-Razorpay-Event-Id"] for _, h, _ in received} == {
        received[0][1]["X-Razorpay-Event-Id"]
    }


def test_the_waits_are_the_measured_ones(standin, receiver, create_order):
    standin.settings(time_scale=1)
    standin.call("POST", "clock", {"frozen": True})
    receiver.status = 500
    standin.pay(create_order()["id"], "authorized")
    # Time moves by less than the shortest wait, so that each try shows when it was due.
    attempts: list[dict[str, Any]] = []
    for tries, step_seconds in enumerate([0.1, 0.25, 6.1, 13.3, 21.5, 42.5], start=1):
        standin.advance(step_seconds)
        attempts = settled(
            lambda tries=tries: len(a := standin.deliveries()[0]["attempts"]) >= tries and a
        )
        assert len(attempts) == tries

    gaps = [later["at"] - earlier["at"] for earlier, later in pairwise(attempts)]

    assert gaps == pytest.approx([0.25, 6.1, 13.3, 21.5, 42.5], abs=0.01)


@pytest.mark.parametrize("outcome", ["authorized", "failed"])
def test_no_attempt_comes_early(standin, receiver, create_order, outcome):
    standin.settings(time_scale=1)
    standin.call("POST", "clock", {"frozen": True})
    receiver.status = 400
    standin.pay(create_order()["id"], outcome)
    standin.advance(0)
    settled(lambda: standin.deliveries()[0]["attempts"])

    standin.advance(5.9)
    early = len(standin.deliveries()[0]["attempts"])
    standin.advance(3.2)

    assert early == 1
    assert settled(lambda: len(standin.deliveries()[0]["attempts"]) == 2)


def test_an_answer_that_comes_too_late_is_a_failure(standin, receiver, create_order):
    standin.settings(webhook_timeout_seconds=0.2)
    receiver.answer_after = threading.Event()

    standin.pay(create_order()["id"], "failed")

    receiver.wait_for(2)
    first = standin.deliveries()[0]["attempts"][0]
    assert (first["status"], first["error"]) == (None, "no answer in 0.2 s")


def test_an_unavailable_server_gets_its_webhook_when_it_is_available_again(
    standin, receiver, create_order
):
    endpoint = standin.endpoints()[0]
    standin.change_endpoint(endpoint["id"], url="http://127.0.0.1:9/nobody-is-here")
    standin.pay(create_order()["id"], "failed")
    settled(lambda: standin.deliveries()[0]["attempts"])

    standin.change_endpoint(endpoint["id"], url=receiver.url)

    assert receiver.names(1) == ["payment.failed"]
    assert settled(lambda: standin.deliveries()[0]["state"] == "delivered")


def test_a_closed_idle_connection_costs_no_attempt(standin, receiver, create_order):
    receiver.hangs_up = True
    for count in range(1, 4):
        standin.pay(create_order()["id"], "failed")
        receiver.wait_for(count)
        settled(lambda: all(d["state"] == "delivered" for d in standin.deliveries()))

    assert [len(delivery["attempts"]) for delivery in standin.deliveries()] == [1, 1, 1]


def test_a_delivered_event_is_not_sent_again(standin, receiver, create_order):
    standin.pay(create_order()["id"], "failed")
    receiver.wait_for(1)
    settled(lambda: standin.deliveries()[0]["state"] == "delivered")

    standin.advance(DAY_SECONDS)
    standin.pay(create_order()["id"], "failed")

    receiver.wait_for(2)
    assert len({body for _, _, body in receiver.received}) == 2


def test_an_endpoint_that_answered_within_the_day_stays_enabled(standin, receiver, create_order):
    receiver.status_of = lambda body: 500 if b"payment.failed" in body else 200
    standin.settings(time_scale=100_000)
    order_id = create_order()["id"]
    standin.pay(order_id, "failed")
    standin.pay(order_id)
    settled(lambda: standin.deliveries()[0]["state"] == "given_up")

    standin.advance(DAY_SECONDS)

    assert not standin.endpoints()[0]["disabled"]


def test_a_disabled_endpoint_receives_nothing_until_enabled(standin, receiver, create_order):
    endpoint = standin.endpoints()[0]
    standin.change_endpoint(endpoint["id"], disabled=True)
    standin.pay(create_order()["id"], "failed")
    standin.change_endpoint(endpoint["id"], disabled=False)

    standin.pay(create_order()["id"])

    assert sorted(receiver.names(3)) == sorted(PAID_EVENTS)
    assert sorted(d["event"] for d in standin.deliveries()) == sorted(PAID_EVENTS)


@pytest.mark.parametrize("move", ["disable", "remove"])
def test_deliveries_to_a_removed_or_disabled_endpoint_are_given_up(
    standin, receiver, create_order, move
):
    receiver.status = 500
    standin.pay(create_order()["id"], "failed")
    receiver.wait_for(1)
    endpoint_id = standin.endpoints()[0]["id"]

    if move == "disable":
        standin.change_endpoint(endpoint_id, disabled=True)
    else:
        standin.call("DELETE", f"endpoints/{endpoint_id}")

    assert settled(lambda: standin.deliveries()[0]["state"] == "given_up")
    assert len(standin.deliveries()[0]["attempts"]) < 15


def test_an_answer_that_is_not_http_is_a_failure(standin, create_order):
    with socket.create_server(("127.0.0.1", 0)) as server:
        standin.subscribe(f"http://127.0.0.1:{server.getsockname()[1]}/")
        standin.pay(create_order()["id"], "failed")
        connection, _ = server.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(b"good day\r\n\r\n")

            attempts = settled(lambda: standin.deliveries()[0]["attempts"])

    assert (attempts[0]["status"], attempts[0]["error"]) == (None, "the answer is not HTTP")
