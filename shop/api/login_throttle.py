"""
Limit failed sign-ins by account, from any number of addresses, in the shop and the admin together.

Attempts from an address where the account has signed in before are counted separately. So an
attacker elsewhere cannot lock the owner out at home, and existing sessions are not affected. From a
new address the owner must wait until the attacker stops, and at most one window longer.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress

from django.http import HttpRequest
from rest_framework.request import Request

from shop.accounts import normalise_email
from shop.api import throttling
from shop.db import redis_client
from shop.db.redis_client import RedisUnavailable

SCOPE = "guesses"
KNOWN_SECONDS = 90 * 24 * 60 * 60
UNKNOWN = "unknown"  # all addresses where the account has not signed in share one counter


def count_attempt(email: str, request: HttpRequest | Request) -> float:
    """
    Count an attempt, and return the seconds to wait if there were too many; otherwise 0.

    Call it before checking the password: then the response is the same for a correct password and
    for an account that does not exist. Returns 0 if Redis is unavailable.
    """
    return throttling.count_call(SCOPE, {_counter(email, request): 1})


def succeeded(email: str, request: HttpRequest | Request) -> None:
    """The password was correct: take the attempt back and remember the address."""
    throttling.uncount_call(SCOPE, _counter(email, request))
    remember_address(email, request)


def remember_address(email: str, request: HttpRequest | Request) -> None:
    """Remember for `KNOWN_SECONDS` that the account has signed in from this address."""
    key = _address_key(email, request)
    with suppress(RedisUnavailable):
        redis_client.call(lambda redis: redis.set(key, 1, ex=KNOWN_SECONDS))


def _counter(email: str, request: HttpRequest | Request) -> str:
    key = _address_key(email, request)
    try:
        is_known = redis_client.call(lambda redis: redis.exists(key))
    except RedisUnavailable:
        is_known = 0
    return f"{_account(email)} {throttling.address_of(request) if is_known else UNKNOWN}"


def _address_key(email: str, request: HttpRequest | Request) -> str:
    return f"known:{_account(email)}:{throttling.address_of(request)}"


def _account(email: str) -> str:
    """A hash, so that Redis holds no e-mail addresses."""
    return hashlib.sha256(normalise_email(email).encode("utf-8", "replace")).hexdigest()[:32]
