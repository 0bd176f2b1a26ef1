"""Webhooks dropped, duplicated, shuffled, delayed and held, on request."""

import threading

from tests.support.standin import settled

DAY_SECONDS = 24 * 60 * 60
PAID_EVENTS = ["payment.authorized", "payment.captured", "order.paid"]


def test_all_can_be_dropped_for_ever(standin, receiver, create_order):
    standin.script(drop_all=True)
    standin.pay(create_order()["id"])
    standin.script(drop_all=False)
    standin.advance(DAY_SECONDS)

    standin.pay(create_order()["id"], "failed")

    assert receiver.names(1) == ["payment.failed"]
    assert [d["state"] for d in standin.deliveries()][:3] == ["dropped"] * 3


def test_the_next_few_can_be_dropped(standin, receiver, create_order):
    standin.script(drop_next=2)

    standin.pay(create_order()["id"])

    assert receiver.names(1) == ["order.paid"]
    assert standin.call("GET", "script")["drop_next"] == 0


def test_each_can_be_sent_several_times(standin, receiver, create_order):
    standin.script(copies=3)

    standin.pay(create_order()["id"], "failed")

    assert len({(body, h["X-Razorpay-Event-Id"]) for _, h, body in receiver.wait_for(3)}) == 1


def test_they_can_be_reversed(standin, receiver, create_order):
    standin.settings(time_scale=1)
    standin.script(order="reversed", hold_seconds=0.05)

    standin.pay(create_order()["id"])

    assert receiver.names(3) == PAID_EVENTS[::-1]


def test_they_can_be_shuffled(standin, receiver, create_order):
    standin.settings(time_scale=1)
    standin.script(order="shuffled", hold_seconds=0.2)
    orders = [create_order()["id"] for _ in range(4)]

    for order_id in orders:
        standin.pay(order_id)

    received = receiver.names(12)
    assert sorted(received) == sorted(PAID_EVENTS * 4)
    assert received != PAID_EVENTS * 4


def test_they_can_be_delayed(standin, receiver, create_order):
    standin.settings(time_scale=1)
    standin.script(delay_seconds=3600)
    standin.pay(create_order()["id"], "failed")
    standin.advance(3590)
    before = standin.deliveries()[0]["attempts"]

    standin.advance(20)

    assert before == []
    assert receiver.names(1) == ["payment.failed"]


def test_a_script_can_apply_to_some_events(standin, receiver, create_order):
    standin.script(drop_all=True, only=["payment.authorized", "payment.captured"])

    standin.pay(create_order()["id"])

    assert receiver.names(1) == ["order.paid"]


def test_delivery_can_be_paused_and_resumed(standin, receiver, create_order):
    standin.call("POST", "clock", {"frozen": True})
    standin.script(paused=True)
    standin.pay(create_order()["id"])
    standin.advance(10)
    standin.advance(100)
    resumed_at = standin.health()["now"]

    standin.script(paused=False)

    assert sorted(receiver.names(3)) == sorted(PAID_EVENTS)
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


def test_a_reset_cancels_retries_that_were_due(standin, receiver, create_order):
    standin.settings(time_scale=1)
    receiver.status = 400
    standin.pay(create_order()["id"])
    receiver.wait_for(3)
    settled(lambda: all(delivery["attempts"] for delivery in standin.deliveries()))

    standin.reset()
    standin.subscribe(receiver.url)
    standin.advance(DAY_SECONDS)
    standin.pay(create_order()["id"], "failed")

    assert receiver.names(4)[3] == "payment.failed"


def test_a_reset_cancels_an_attempt_in_progress(standin, receiver, create_order):
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
