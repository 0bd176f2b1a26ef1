"""The webhook endpoint: verifies, stores and answers. Events are handled later."""

import base64
import json

import pytest

from shop.payments.inbox import InboxEvent
from shop.payments.razorpay import signatures
from tests.support.api import Caller, granted, refused
from tests.support.environment import WEBHOOK_SECRET

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis")]

PATH = "/api/webhooks/razorpay/"
OLD_SECRET = "old_webhook_secret_of_two_days_ago"
BODY = json.dumps({"event": "payment.captured", "payload": {}}).encode()


def deliver(body: bytes = BODY, *, secret: str = WEBHOOK_SECRET, event_id: str = "evt_1", **more):
    headers = {
        "X_Razorpay_Signature": signatures.sign(body, secret=secret),
        "X_Razorpay_Event_Id": event_id,
    }
    return Caller().send("POST", PATH, body, "application/json", **headers | more)


@pytest.mark.parametrize("secret", [WEBHOOK_SECRET, OLD_SECRET])
def test_a_genuine_event_is_stored_unchanged_and_handled_later(secret):
    granted(deliver(secret=secret))

    event = InboxEvent.objects.get()
    assert (event.gateway_event_id, bytes(event.body)) == ("evt_1", BODY)
    assert event.due_at == event.received_at
    assert event.handled_at is None


def test_a_genuine_event_notifies_a_worker(redis):
    granted(deliver())

    [message] = redis.lrange("webhooks", 0, -1)
    assert json.loads(message)["headers"]["task"] == "payments.reconcile_webhook"


@pytest.mark.parametrize("header", ["", "e" * 65, "evt_\x7f"])
def test_the_message_carries_the_stored_id_of_an_event_without_one(redis, header):
    granted(deliver(event_id=header))

    [message] = redis.lrange("webhooks", 0, -1)
    _args, kwargs, _options = json.loads(base64.b64decode(json.loads(message)["body"]))
    assert kwargs == {"event_id": InboxEvent.objects.get().gateway_event_id}
    assert kwargs["event_id"].startswith("sha256:")


@pytest.mark.parametrize(
    "signature", ["", "0" * 64, "not hex", "é", signatures.sign(BODY, secret="somebody's")]
)
def test_a_forged_event_is_refused_and_not_stored(signature):
    response = deliver(X_Razorpay_Signature=signature)

    refused(response, 401, "signature_invalid")
    assert not InboxEvent.objects.exists()


def test_an_event_without_a_signature_is_refused_and_not_stored():
    response = Caller().send("POST", PATH, BODY, "application/json")

    refused(response, 401, "signature_invalid")
    assert not InboxEvent.objects.exists()


def test_forged_events_are_counted(redis):
    for _ in range(3):
        deliver(secret="a guess")

    assert int(redis.get("webhooks:forged")) == 3


def test_one_byte_more_than_was_signed_is_refused():
    signature = signatures.sign(BODY, secret=WEBHOOK_SECRET)

    refused(deliver(BODY + b" ", X_Razorpay_Signature=signature), 401, "signature_invalid")


def test_an_empty_secret_accepts_nothing(settings):
    settings.RAZORPAY_WEBHOOK_SECRETS = [""]

    refused(deliver(secret=""), 401, "signature_invalid")


@pytest.mark.parametrize("body", [b"", b"not json", b"[]", b"null", b"\xff\x00", b"[" * 50_000])
def test_a_genuine_event_that_cannot_be_read_is_stored(body):
    granted(deliver(body))

    assert bytes(InboxEvent.objects.get().body) == body


def test_a_duplicate_gets_the_same_answer_and_is_stored_once():
    answers = [granted(deliver()) for _ in range(5)]

    assert answers == [answers[0]] * 5
    assert InboxEvent.objects.count() == 1


def test_events_without_an_id_are_identified_by_their_bytes():
    for body in (BODY, BODY, BODY + b" "):
        granted(deliver(body, event_id=""))

    assert InboxEvent.objects.count() == 2


@pytest.mark.parametrize("event_id", ["e" * 65, "evt\x00", "evt\n"])
def test_an_event_with_an_invalid_id_is_stored(event_id):
    granted(deliver(event_id=event_id))

    assert InboxEvent.objects.get().gateway_event_id.startswith("sha256:")


@pytest.mark.parametrize("content_type", ["", "text/plain", "application/json; charset=zlib"])
def test_the_content_type_does_not_matter(content_type):
    body, headers = BODY, {"X_Razorpay_Signature": signatures.sign(BODY, secret=WEBHOOK_SECRET)}

    granted(Caller().send("POST", PATH, body, content_type, **headers))


def test_a_body_of_a_mebibyte_is_accepted_and_one_byte_more_is_not():
    granted(deliver(b" " * 1024 * 1024))
    refused(deliver(b" " * (1024 * 1024 + 1)), 413, "too_large")

    assert InboxEvent.objects.count() == 1


def test_a_webhook_can_only_be_posted():
    response = Caller().get(PATH)

    refused(response, 405, "method_not_allowed")
    assert response["Allow"] == "POST"
