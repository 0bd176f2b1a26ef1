"""
Guessing passwords, made slow for each account, from however many addresses it is tried.

Only failures count, at both doors, the shop's and the admin's, together. Who has signed in from an
address before is counted there apart: a stranger who guesses on and on uses up what strangers have,
and the buyer still comes in from home; where they are signed in, they stay so. From a new address
they wait until the stranger stops, and no longer than one window after that.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress

from django.http import HttpRequest
from rest_framework.request import Request

from shop.accounts import normalise_email
from shop.api import limits
from shop.db import redis_client
from shop.db.redis_client import RedisUnavailable

SCOPE = "guesses"
KNOWN_SECONDS = 90 * 24 * 60 * 60
STRANGERS = "strangers"  # together


def wait_seconds(email: str, request: HttpRequest | Request) -> float:
    """
    Count a try, and say how long to wait if there were too many; 0 if not, or Redis is away.

    Asked before the password is looked at: so the answer is the same for a right one, and for an
    account that there is not.
    """
    return limits.wait_seconds(SCOPE, {_who(email, request): 1})


def right(email: str, request: HttpRequest | Request) -> None:
    """The password was right: the try does not count, and the address is known from now on."""
    limits.take_back(SCOPE, _who(email, request))
    know(email, request)


def know(email: str, request: HttpRequest | Request) -> None:
    """The owner of this account has been at this address."""
    known = _known(email, request)
    with suppress(RedisUnavailable):
        redis_client.call(lambda it: it.set(known, 1, ex=KNOWN_SECONDS))


def _who(email: str, request: HttpRequest | Request) -> str:
    known = _known(email, request)
    try:
        is_known = redis_client.call(lambda it: it.exists(known))
    except RedisUnavailable:
        is_known = 0
    address = limits.address_of(request) if is_known else STRANGERS
    return f"{_account(email)} {address}"


def _known(email: str, request: HttpRequest | Request) -> str:
    return f"known:{_account(email)}:{limits.address_of(request)}"


def _account(email: str) -> str:
    """Not the address itself: who looks into Redis need not read who our buyers are."""
    return hashlib.sha256(normalise_email(email).encode("utf-8", "replace")).hexdigest()[:32]
