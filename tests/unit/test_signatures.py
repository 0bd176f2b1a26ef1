import hashlib
import hmac

import pytest

from shop.payments.razorpay.signatures import is_genuine, payment_is_genuine, sign

BODY = '{"event":"payment.captured","note":"₹ \\/ é"}'.encode()


def test_the_signature_is_hmac_sha256_over_the_bytes():
    expected = hmac.new(b"secret", BODY, hashlib.sha256).hexdigest()

    assert sign(BODY, secret="secret") == expected
    assert is_genuine(BODY, expected, secrets=["secret"])


def test_an_old_secret_is_accepted_as_well_as_the_new_one():
    assert is_genuine(BODY, sign(BODY, secret="old"), secrets=["new", "old"])


@pytest.mark.parametrize("signature", ["", "0" * 64, "é" * 64, "\ud800", "x" * 100_000])
def test_anything_else_is_not_genuine_and_no_error(signature):
    assert not is_genuine(BODY, signature, secrets=["secret"])


def test_one_more_byte_makes_the_signature_wrong():
    assert not is_genuine(BODY + b" ", sign(BODY, secret="secret"), secrets=["secret"])


def test_an_empty_secret_verifies_nothing():
    assert not is_genuine(BODY, sign(BODY, secret=""), secrets=["", ""])


def test_a_payment_is_genuine_for_its_own_order_only():
    signature = sign(b"order_1|pay_1", secret="key")
    given = {"gateway_payment_id": "pay_1", "signature": signature, "key_secret": "key"}

    assert payment_is_genuine(gateway_order_id="order_1", **given)
    assert not payment_is_genuine(gateway_order_id="order_2", **given)


def test_signatures_are_compared_as_bytes_in_constant_time(monkeypatch):
    compared = []
    right = hmac.compare_digest

    def watched(a, b):
        compared.append((type(a), type(b)))
        return right(a, b)

    monkeypatch.setattr("shop.payments.razorpay.signatures.hmac.compare_digest", watched)

    assert is_genuine(BODY, sign(BODY, secret="new"), secrets=["new", "old"])
    assert compared == [(bytes, bytes)] * 2  # both, so the time does not show which one matched


def test_a_body_is_bytes():
    with pytest.raises(TypeError):
        is_genuine("{}", "0" * 64, secrets=["secret"])
