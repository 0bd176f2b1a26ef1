"""Webhooks of the stand-in, as a real HTTP server receives them."""

import hashlib
import hmac
import json
import socket
import threading
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import requests

DAY_SECONDS = 24 * 60 * 60
PAID_EVENTS = ["payment.authorized", "payment.captured", "order.paid"]


def settled(condition: Callable[[], Any], *, seconds: float = 5) -> Any:
    """What `condition` gives once that is true; fails after `seconds`."""
    deadline = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < deadline, "it never came true"
    return result


def names(received: list[tuple[str, dict[str, str], bytes]]) -> list[str]:
    return [json.loads(body)["event"] for _, _, body in received]


def test_a_paid_order_makes_three_events_within_a_second(standin, receiver, create_order):
    standin.settings(webhook_spread_seconds=0.85, time_scale=1)
    began = time.monotonic()

    standin.pay(create_order()["id"])

    assert sorted(names(receiver.wait_for(3))) == sorted(PAID_EVENTS)
    assert time.monotonic() - began < 1.5


def test_the_three_events_are_sent_in_parallel(standin, receiver, create_order):
    receiver.answer_after = threading.Event()

    standin.pay(create_order()["id"])

    receiver.wait_for(3)  # though none has been answered


def test_a_webhook_carries_the_headers_of_a_real_one(standin, receiver, create_order):
    standin.pay(create_order()["id"], "failed")
    [(_, headers, body)] = receiver.wait_for(1)

    event_id = headers.pop("X-Razorpay-Event-Id")
    assert len(event_id) == 14
    assert headers.pop("Host")
    assert headers == {
        "User-Agent": "Razorpay-Webhook/v1",
        "Content-Type": "application/json",
        "Accept-Encoding": "gzip",
        "Request-Id": event_id,
        "X-Razorpay-Signature": hmac.new(
            b"standin_webhook_secret", body, hashlib.sha256
        ).hexdigest(),
        "Content-Length": str(len(body)),
    }


def test_the_sdk_accepts_the_signature(standin, client, receiver, create_order):
    standin.pay(create_order()["id"], "failed")
    [(_, headers, body)] = receiver.wait_for(1)

    assert client.utility.verify_webhook_signature(
        body.decode(), headers["X-Razorpay-Signature"], standin.webhook_secret
    )
    assert standin.sign(body) == headers["X-Razorpay-Signature"]


def test_a_body_is_compact_and_in_the_known_key_order(standin, receiver, create_order):
    payment = standin.pay(create_order(receipt="चाय".encode().hex())["id"])
    bodies = {json.loads(body)["event"]: body for _, _, body in receiver.wait_for(3)}

    body = bodies["order.paid"]
    event = json.loads(body)
    assert json.dumps(event, separators=(",", ":"), ensure_ascii=False).encode() == body
    assert list(event) == ["entity", "account_id", "event", "contains", "payload", "created_at"]
    assert event["contains"] == ["payment", "order"]
    order, paid = event["payload"]["order"]["entity"], event["payload"]["payment"]["entity"]
    assert (order["status"], order["amount_paid"]) == ("paid", 50_000)
    assert (order["description"], order["checkout"]) == (None, None)
    assert paid["id"] == payment["id"]
    assert "reward" in paid
    assert "base_amount" not in paid


def test_an_event_shows_the_payment_as_it_was_then(standin, receiver, create_order):
    standin.pay(create_order()["id"])
    bodies = {json.loads(body)["event"]: json.loads(body) for _, _, body in receiver.wait_for(3)}

    authorized = bodies["payment.authorized"]["payload"]["payment"]["entity"]
    captured = bodies["payment.captured"]["payload"]["payment"]["entity"]
    assert (authorized["status"], authorized["captured"], authorized["fee"]) == (
        "authorized",
        False,
        None,
    )
    assert (captured["status"], captured["fee"], captured["base_amount"]) == (
        "captured",
        1_180,
        50_000,
    )


def test_refunds_and_disputes_are_told_too(standin, client, receiver, create_order):
    payment = standin.pay(create_order()["id"], webhooks=False)
    standin.settings(refund_status="pending")
    refund = client.payment.refund(payment["id"], {"amount": 100})
    standin.move_refund(refund["id"], "process")
    standin.call("POST", f"payments/{payment['id']}/disputes")

    received = receiver.wait_for(3)

    assert set(names(received)) == {
        "refund.created",
        "refund.processed",
        "payment.dispute.created",
    }
    contains = {json.loads(body)["event"]: json.loads(body)["contains"] for _, _, body in received}
    assert contains["refund.created"] == ["refund", "payment"]
    assert contains["payment.dispute.created"] == ["payment", "dispute"]


def test_an_instant_refund_is_created_as_processed(standin, client, receiver, create_order):
    payment = standin.pay(create_order()["id"], webhooks=False)
    client.payment.refund(payment["id"], {})

    created = next(
        json.loads(body) for _, _, body in receiver.wait_for(2) if b'"refund.created"' in body
    )

    assert created["payload"]["refund"]["entity"]["status"] == "processed"


def test_events_of_a_silent_payment_are_never_sent(standin, receiver, create_order):
    standin.pay(create_order()["id"], webhooks=False)
    standin.pay(create_order()["id"], "failed")

    assert names(receiver.wait_for(1)) == ["payment.failed"]
    assert [d["event"] for d in standin.deliveries()] == ["payment.failed"]


# Repeats


@pytest.mark.parametrize(("status", "tries"), [(500, 16), (400, 15), (302, 15)])
def test_what_is_not_2xx_is_tried_again_for_a_day(standin, receiver, create_order, status, tries):
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
def test_no_try_comes_before_its_time(standin, receiver, create_order, outcome):
    standin.settings(time_scale=1)
    standin.call("POST", "clock", {"frozen": True})
    receiver.status = 400
    standin.pay(create_order()["id"], outcome)
    standin.advance(0)
    settled(lambda: standin.deliveries()[0]["attempts"])

    standin.advance(5.9)
    standin.call("POST", "clock", {"frozen": True})
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


def test_a_server_that_is_away_gets_its_webhook_when_it_is_back(standin, receiver, create_order):
    endpoint = standin.endpoints()[0]
    standin.change_endpoint(endpoint["id"], url="http://127.0.0.1:9/nobody-is-here")
    standin.pay(create_order()["id"], "failed")
    settled(lambda: standin.deliveries()[0]["attempts"])

    standin.change_endpoint(endpoint["id"], url=receiver.url)

    assert names(receiver.wait_for(1)) == ["payment.failed"]
    assert settled(lambda: standin.deliveries()[0]["state"] == "delivered")


def test_a_connection_that_was_kept_in_vain_costs_no_try(standin, receiver, create_order):
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


def test_a_disabled_endpoint_hears_nothing_until_enabled(standin, receiver, create_order):
    endpoint = standin.endpoints()[0]
    standin.change_endpoint(endpoint["id"], disabled=True)
    standin.pay(create_order()["id"], "failed")
    standin.change_endpoint(endpoint["id"], disabled=False)

    standin.pay(create_order()["id"])

    assert sorted(names(receiver.wait_for(3))) == sorted(PAID_EVENTS)
    assert sorted(d["event"] for d in standin.deliveries()) == sorted(PAID_EVENTS)


@pytest.mark.parametrize("move", ["disable", "remove"])
def test_what_was_on_its_way_to_a_dead_endpoint_is_given_up(standin, receiver, create_order, move):
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


# Several endpoints, secrets, replay


def test_all_endpoints_get_the_same_event(standin, receiver, create_order):
    standin.subscribe(receiver.url + "/second", secret="another-secret")

    standin.pay(create_order()["id"], "failed")

    received = receiver.wait_for(2)
    assert sorted(path for path, _, _ in received) == ["/hook", "/hook/second"]
    assert len({h["X-Razorpay-Event-Id"] for _, h, _ in received}) == 1
    assert len({body for _, _, body in received}) == 1
    assert len({h["X-Razorpay-Signature"] for _, h, _ in received}) == 2


def test_an_endpoint_may_want_some_events_only(standin, receiver, create_order):
    standin.change_endpoint(standin.endpoints()[0]["id"], events=["order.paid"])

    standin.pay(create_order()["id"])

    assert names(receiver.wait_for(1)) == ["order.paid"]
    assert [d["event"] for d in standin.deliveries()] == ["order.paid"]


def test_a_removed_endpoint_is_told_no_more(standin, receiver, create_order):
    standin.call("DELETE", f"endpoints/{standin.endpoints()[0]['id']}")

    standin.pay(create_order()["id"])

    assert standin.deliveries() == []


def test_old_events_keep_the_old_secret(standin, receiver, create_order):
    receiver.status = 500
    standin.pay(create_order()["id"], "failed")
    receiver.wait_for(1)
    standin.rotate_secret("new-secret")
    receiver.status = 200
    standin.pay(create_order()["id"], "failed")

    settled(lambda: all(d["state"] == "delivered" for d in standin.deliveries()))

    old, new = standin.deliveries()
    assert old["headers"]["X-Razorpay-Signature"] != standin.sign(old["body"].encode())
    assert new["headers"]["X-Razorpay-Signature"] == standin.sign(new["body"].encode())
    assert {
        h["X-Razorpay-Signature"] for _, h, b in receiver.received if b == receiver.received[0][2]
    } == {old["headers"]["X-Razorpay-Signature"]}


def test_an_event_can_be_replayed_byte_for_byte(standin, receiver, create_order):
    standin.pay(create_order()["id"], "failed")
    [first] = receiver.wait_for(1)

    standin.replay(first[1]["X-Razorpay-Event-Id"])

    assert receiver.wait_for(2)[1] == first


def test_an_unknown_event_cannot_be_replayed(standin):
    with pytest.raises(requests.HTTPError, match="no event"):
        standin.replay("00000000000000")


# Scripts


def test_all_can_be_dropped_for_good(standin, receiver, create_order):
    standin.script(drop_all=True)
    standin.pay(create_order()["id"])
    standin.script(drop_all=False)
    standin.advance(DAY_SECONDS)

    standin.pay(create_order()["id"], "failed")

    assert names(receiver.wait_for(1)) == ["payment.failed"]
    assert [d["state"] for d in standin.deliveries()][:3] == ["dropped"] * 3


def test_the_next_few_can_be_dropped(standin, receiver, create_order):
    standin.script(drop_next=2)

    standin.pay(create_order()["id"])

    assert names(receiver.wait_for(1)) == ["order.paid"]
    assert standin.call("GET", "script")["drop_next"] == 0


def test_each_can_be_sent_several_times(standin, receiver, create_order):
    standin.script(copies=3)

    standin.pay(create_order()["id"], "failed")

    assert len({(body, h["X-Razorpay-Event-Id"]) for _, h, body in receiver.wait_for(3)}) == 1


def test_they_can_come_in_reverse(standin, receiver, create_order):
    standin.settings(time_scale=1)
    standin.script(order="reversed", hold_seconds=0.05)

    standin.pay(create_order()["id"])

    assert names(receiver.wait_for(3)) == PAID_EVENTS[::-1]


def test_they_can_be_shuffled(standin, receiver, create_order):
    standin.settings(time_scale=1)
    standin.script(order="shuffled", hold_seconds=0.2)
    orders = [create_order()["id"] for _ in range(4)]

    for order_id in orders:
        standin.pay(order_id)

    received = names(receiver.wait_for(12))
    assert sorted(received) == sorted(PAID_EVENTS * 4)
    assert received != PAID_EVENTS * 4


def test_they_can_be_late(standin, receiver, create_order):
    standin.settings(time_scale=1)
    standin.script(delay_seconds=3600)
    standin.pay(create_order()["id"], "failed")
    standin.advance(3590)
    before = standin.deliveries()[0]["attempts"]

    standin.advance(20)

    assert before == []
    assert names(receiver.wait_for(1)) == ["payment.failed"]


def test_a_script_can_be_for_some_events(standin, receiver, create_order):
    standin.script(drop_all=True, only=["payment.authorized", "payment.captured"])

    standin.pay(create_order()["id"])

    assert names(receiver.wait_for(1)) == ["order.paid"]


def test_delivery_can_be_paused_and_resumed(standin, receiver, create_order):
    standin.call("POST", "clock", {"frozen": True})
    standin.script(paused=True)
    standin.pay(create_order()["id"])
    standin.advance(10)
    standin.advance(100)
    resumed_at = standin.health()["now"]

    standin.script(paused=False)

    assert sorted(names(receiver.wait_for(3))) == sorted(PAID_EVENTS)
    settled(lambda: all(delivery["attempts"] for delivery in standin.deliveries()))
    assert {d["attempts"][0]["at"] for d in standin.deliveries()} == {resumed_at}


def test_one_endpoint_can_be_paused(standin, receiver, create_order):
    standin.subscribe(receiver.url + "/second")
    first = standin.endpoints()[0]
    standin.change_endpoint(first["id"], paused=True)
    standin.pay(create_order()["id"], "failed")
    early = receiver.wait_for(1)

    standin.change_endpoint(first["id"], paused=False)

    assert [path for path, _, _ in early] == ["/hook/second"]
    assert [path for path, _, _ in receiver.wait_for(2)] == ["/hook/second", "/hook"]


def test_repeats_that_were_due_are_forgotten_by_a_reset(standin, receiver, create_order):
    standin.settings(time_scale=1)
    receiver.status = 400
    standin.pay(create_order()["id"])
    receiver.wait_for(3)
    settled(lambda: all(delivery["attempts"] for delivery in standin.deliveries()))

    standin.reset()
    standin.subscribe(receiver.url)
    standin.advance(DAY_SECONDS)
    standin.pay(create_order()["id"], "failed")

    assert names(receiver.wait_for(4))[3] == "payment.failed"


def test_a_try_under_way_is_forgotten_by_a_reset(standin, receiver, create_order):
    receiver.status = 400
    receiver.answer_after = threading.Event()
    standin.pay(create_order()["id"], "failed")
    receiver.wait_for(1)

    standin.reset()
    receiver.answer_after.set()
    receiver.status = 200
    standin.subscribe(receiver.url)
    for count in (2, 3):
        standin.pay(create_order()["id"], "failed")
        receiver.wait_for(count)
        standin.advance(DAY_SECONDS)

    bodies = [body for _, _, body in receiver.received]
    assert len(bodies) == len(set(bodies))


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


# Spellings


@pytest.mark.parametrize(
    ("escaped", "text"), [(True, b"\\u091a\\u093e\\u092f \\/"), (False, "चाय /".encode())]
)
def test_bodies_can_be_escaped(standin, receiver, create_order, escaped, text):
    standin.settings(webhook_escaped=escaped)

    standin.pay(create_order()["id"], "failed", notes={"what": "चाय /"})

    [(_, headers, body)] = receiver.wait_for(1)
    assert text in body
    assert headers["X-Razorpay-Signature"] == standin.sign(body)
    assert json.loads(body)["payload"]["payment"]["entity"]["notes"] == {"what": "चाय /"}


def test_keys_can_be_sorted(standin, receiver, create_order):
    standin.settings(webhook_sorted_keys=True)

    standin.pay(create_order()["id"], "failed")

    [(_, _, body)] = receiver.wait_for(1)
    assert list(json.loads(body)) == sorted(json.loads(body))
