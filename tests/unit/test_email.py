"""Normalised e-mail addresses: accounts are found and throttled by them."""

from __future__ import annotations

import sys

from django.contrib.auth.forms import UsernameField

from shop.accounts import User, normalise_email

LETTERS = [chr(code) for code in range(sys.maxunicode + 1)]


def test_normalising_is_idempotent():
    changed = [
        it for it in LETTERS if (once := normalise_email(f"a{it}b")) != normalise_email(once)
    ]

    assert changed == []


def test_spellings_that_django_folds_are_one_account():
    cleaned = UsernameField().to_python

    names = (f"{it}asha{it}@example.com" for it in LETTERS)

    assert [it for it in names if normalise_email(cleaned(it)) != normalise_email(it)] == []


def test_a_guest_has_no_address_to_normalise():
    assert User.normalize_username(None) is None
