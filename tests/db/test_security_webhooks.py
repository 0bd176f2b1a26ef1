"""Forged and replayed webhooks leave nothing but a count."""

from __future__ import annotations

import base64
import gzip
import json

import pytest
from django.apps import apps

from shop.payments.inbox import InboxEvent
from shop.payments.razorpay import signatures
from tests.support.api import Caller, granted, refused
from tests.support.environment import KEY_SECRET, WEBHOOK_SECRET

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis")]

PATH = "/api/webhooks/razorpay/"
EVENT = {"event": "payment.captured", "payload": {"payment": {"entity": {"amount": 2248896}}}}
BODY = json.dumps(EVENT, separators=(",", ":")).encode()
GENUINE = signatures.sign(BODY, secret=WEBHOOK_SECRET)


def deliver(body: bytes = BODY, signature: str = GENUINE, **headers: str):
    headers = {"X_Razorpay_Signature": signature, "X_Razorpay_Event_Id": "evt_1"} | headers
    return Caller().send("POST", PATH, body, "application/json", **headers)


def rows() -> dict[str, int]:
    models = apps.get_app_config("shop").get_models()
    return {model.__name__: model._default_manager.count() for model in models}


FORGERIES = {
    "no signature": (BODY, ""),
    "nothing but spaces": (BODY, "  "),
    "spaces around": (BODY, f" {GENUINE} "),
    "a newline behind": (BODY, f"{GENUINE}\n"),
    "capitals": (BODY, GENUINE.upper()),
    "half of it": (BODY, GENUINE[:32]),
    "twice": (BODY, GENUINE * 2),
    "two headers as one": (BODY, f"{GENUINE},{GENUINE}"),
    "a wrong and the right one": (BODY, f"{'0' * 64}, {GENUINE}"),
    "with its algorithm": (BODY, f"sha256={GENUINE}"),
    "base64": (BODY, base64.b64encode(bytes.fromhex(GENUINE)).decode()),
    "not ASCII": (BODY, "é" * 64),
    "digits of another script": (BODY, "٠" * 64),
    "very long": (BODY, "0" * 100_000),
    "by the key of the API": (BODY, signatures.sign(BODY, secret=KEY_SECRET)),
    "by nothing": (BODY, signatures.sign(BODY, secret="")),
    "of another body": (BODY, signatures.sign(b"{}", secret=WEBHOOK_SECRET)),
    "cut off": (BODY[:-1], GENUINE),
    "empty": (b"", GENUINE),
    "a space behind": (BODY + b" ", GENUINE),
    "a BOM before": (b"\xef\xbb\xbf" + BODY, GENUINE),
    "the same JSON, written anew": (json.dumps(EVENT).encode(), GENUINE),
    "another amount": (BODY.replace(b"2248896", b"1"), GENUINE),
    "UTF-16": (BODY.decode().encode("utf-16"), GENUINE),
    "packed": (gzip.compress(BODY), GENUINE),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_a_forged_webhook_only_raises_a_counter(name, redis):
    before = rows()

    response = deliver(*FORGERIES[name])

    refused(response, 401, "signature_invalid")
    assert rows() == before
    assert redis.keys() == [b"webhooks:forged"]
    assert redis.get("webhooks:forged") == b"1"


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "identity", "nonsense"])
def test_compressed_bodies_are_not_unpacked(encoding):
    packed = gzip.compress(BODY)

    refused(deliver(packed, Content_Encoding=encoding), 401, "signature_invalid")
    granted(deliver(packed, signatures.sign(packed, secret=WEBHOOK_SECRET)))

    assert bytes(InboxEvent.objects.get().body) == packed  # a small bomb stays small


def test_a_replayed_event_is_the_same_event():
    for _ in range(3):
        granted(deliver())

    assert InboxEvent.objects.count() == 1


def test_a_replayed_event_under_another_id_changes_nothing():
    """Its bytes are genuine, so it is stored; facts of a payment only move forward."""
    for n in range(2):
        granted(deliver(X_Razorpay_Event_Id=f"evt_{n}"))

    assert InboxEvent.objects.count() == 2


@pytest.mark.parametrize("secrets", [[], [""], ["", ""]])
def test_without_a_secret_no_webhook_is_genuine(secrets, settings):
    settings.RAZORPAY_WEBHOOK_SECRETS = secrets

    for secret in ("", "unset", WEBHOOK_SECRET):
        signature = signatures.sign(BODY, secret=secret)
        refused(deliver(signature=signature), 401, "signature_invalid")

    assert not InboxEvent.objects.exists()


def test_a_session_or_a_token_is_no_signature(admin_client):
    response = admin_client.post(PATH, BODY, "application/json")

    refused(response, 401, "signature_invalid")
