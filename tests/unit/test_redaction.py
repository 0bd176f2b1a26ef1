"""Redaction hides secrets and personal data, and keeps ids, times and messages."""

from __future__ import annotations

import json

import pytest

from shop.telemetry import redaction
from shop.telemetry.redaction import HIDDEN, redacted, redacted_value

SECRET = "the-key-secret-of-the-shop"


@pytest.fixture(autouse=True)
def known(monkeypatch):
    monkeypatch.setattr(redaction, "_secrets", ())
    redaction.learn([SECRET, "unset", ""])


@pytest.mark.parametrize(
    "text",
    [
        f"refused: {SECRET}!",
        "Authorization: Bearer abcdef.123456-x",
        "Authorization: Basic cnpwX3Rlc3Q6c2VjcmV0",
        "token eyJhbGciOi.eyJzdWIiOiIx.c2lnbmF0dXJl",
        "card 4111 1111 1111 1111",
        "card 4111-1111-1111-1111.",
        "card=4111111111111111",
        "call +91 98450 12345",
        "call 09845012345 or 9845012345",
        "Key (email)=(asha.rao+shop@example.co.in) already exists",
        "postgres://pakka:hunter2hunter2@postgres:5432/pakka",
        '{"password": "hunter2 hunter2"}',
        "{'email': 'x', 'phone': 9845012345}",
        '{"body": "{\\"contact\\": \\"hunter2\\", \\"amount\\": 5}"}',
        "{'Cookie': 'sessionid=hunter2'}",
    ],
)
def test_secrets_and_personal_data_are_hidden(text):
    clean = redacted(text)

    assert HIDDEN in clean
    for part in (SECRET, "hunter2", "4111", "98450", "eyJ", "abcdef", "cnpw", "asha", "sessionid"):
        assert part not in clean
    assert redacted(clean) == clean


@pytest.mark.parametrize(
    "text",
    [
        "advanced 3: eddf14d2-8541-4111-8111-111111111111 00000000-0000-0000-0000-000000000000",
        "order PK-261123-9845012345 pay_SPLkRQ12345678 order_9A33XWu170gUtm",
        "2026-11-23T10:00:00.123456Z",
        "2026-11-23 10:00:00.123456",
        "at 1763890000, took 0.12345678901234567 s, 2248896 paise",
        "worker@shop-1 ready.",
        "the secret of a good shop is 'unset'",
        'File "shop/checkout/steps/runner.py", line 12, in run_local',
    ],
)
def test_ids_times_and_messages_stay(text):
    assert redacted(text) == text


def test_json_stays_json():
    text = json.dumps({"password": 'a "quoted" one', "email": "", "n": {"phone": "+919845012345"}})

    assert json.loads(redacted(text)) == {
        "password": HIDDEN,
        "email": HIDDEN,
        "n": {"phone": HIDDEN},
    }


def test_fields_with_a_secret_name_are_hidden_whatever_their_value():
    given = {"Authorization": 5, "deep": [{"vpa": object()}, ("a@b.co", 7, None)], "user_id": 5}

    assert redacted_value(given) == {
        "Authorization": HIDDEN,
        "deep": [{"vpa": HIDDEN}, [HIDDEN, 7, None]],
        "user_id": 5,
    }


def test_objects_are_shown_as_text_without_their_secrets():
    class Odd:
        def __repr__(self) -> str:
            return f"<Odd {SECRET}>"

    assert redacted_value(Odd()) == f"<Odd {HIDDEN}>"


def test_the_longest_secret_is_hidden_first_and_short_words_are_none():
    redaction.learn(["abcdef", "abcdefghij", "short"])

    assert redacted("abcdefghij short abcdef") == f"{HIDDEN} short {HIDDEN}"
