"""Webhooks of the stand-in, as a real HTTP server receives them: their content and endpoints."""

import hashlib
import hmac
import json
import threading
import time

import pytest
import requests

from tests.support.standin import WEBHOOK_SECRET, settled

PAID_EVENTS = ["payment.authorized", "payment.captured", "order.paid"]


def test_a_paid_order_makes_three_events_within_a_second(standin, receiver, create_order):
    standin.settings(webhook_spread_seconds=0.85, time_scale=1)
    began = time.monotonic()

    standin.pay(create_order()["id"])

    assert sorted(receiver.names(3)) == sorted(PAID_EVENTS)
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
        "X-Razorpay-Signature": hmac.new(WEBHOOK_SECRET.encode(), body, hashlib.sha256).hexdigest(),
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


def test_refunds_and_disputes_are_sent_too(standin, client, receiver, create_order):
    payment = standin.pay(create_order()["id"], webhooks=False)
    standin.settings(refund_status="pending")
    refund = client.payment.refund(payment["id"], {"amount": 100})
    standin.move_refund(refund["id"], "process")
    standin.call("POST", f"payments/{payment['id']}/disputes")

    received = receiver.wait_for(3)

    assert set(receiver.names(3)) == {
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


def test_events_of_a_payment_without_webhooks_are_never_sent(standin, receiver, create_order):
    standin.pay(create_order()["id"], webhooks=False)
    standin.pay(create_order()["id"], "failed")

    assert receiver.names(1) == ["payment.failed"]
    assert [d["event"] for d in standin.deliveries()] == ["payment.failed"]


# Several endpoints, secrets, replay


def test_all_endpoints_get_the_same_event(standin, receiver, create_order):
    standin.subscribe(receiver.url + "/second", secret="another-secret")

    standin.pay(create_order()["id"], "failed")

    received = receiver.wait_for(2)
    assert sorted(path for path, _, _ in received) == ["/hook", "/hook/second"]
    assert len({h["X-Razorpay-Event-Id"] for _, h, _ in received}) == 1
    assert len({body for _, _, body in received}) == 1
    assert len({h["X-Razorpay-Signature"] for _, h, _ in received}) == 2


def test_an_endpoint_may_subscribe_to_some_events_only(standin, receiver, create_order):
    standin.change_endpoint(standin.endpoints()[0]["id"], events=["order.paid"])

    standin.pay(create_order()["id"])

    assert receiver.names(1) == ["order.paid"]
    assert [d["event"] for d in standin.deliveries()] == ["order.paid"]


def test_a_removed_endpoint_receives_nothing(standin, receiver, create_order):
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
