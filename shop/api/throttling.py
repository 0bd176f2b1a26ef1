"""Rate limits by user and by address."""

from __future__ import annotations

import re
import time
from contextlib import suppress
from functools import cache, lru_cache
from ipaddress import IPv6Address, ip_address
from typing import cast

from django.conf import settings
from django.http import HttpRequest
from redis import Redis
from rest_framework.request import Request
from rest_framework.throttling import ScopedRateThrottle
from rest_framework.views import APIView

from shop.db import redis_client
from shop.db.redis_client import RedisUnavailable

MAX_ADDRESS_CHARS = 64  # of an address that is no IP address
# An address with a port, which differs for each connection: `1.2.3.4:5678`, `[::1]:5678`.
WITH_PORT = re.compile(r"\[([^]]*)\](?::[0-9]*)?|([^:]*):[0-9]*")
NETWORK_BITS = 64  # of an IPv6 address: callers choose the other 64 bits themselves


class Throttle(ScopedRateThrottle):
    """
    A fixed-window limit for each scope, by user id or, for anonymous callers, by address.

    Signed-in callers share a second limit by address, `CALLERS_PER_ADDRESS` times the rate, so that
    creating guests does not evade the limit.
    """

    def allow_request(self, request: Request, view: APIView) -> bool:
        scope = getattr(view, "throttle_scope", None)
        if not scope:
            return True
        address = address_of(request)
        if request.user and request.user.is_authenticated:
            callers = {f"user {request.user.pk}": 1, address: settings.CALLERS_PER_ADDRESS}
        else:
            callers = {address: 1}
        self.wait_seconds = count_call(scope, callers)
        return not self.wait_seconds

    def wait(self) -> float:
        return self.wait_seconds


def count_call(scope: str, callers: dict[str, int]) -> float:
    """
    Count one call for each of `callers`, and return the seconds to wait if one exceeds its limit.

    `callers` maps a name to its multiple of the scope's rate. Returns 0 if the call is allowed, or
    if Redis is unavailable. A call refused for one name is not counted for the others, so a caller
    over the limit does not use up the limit of an address.

    Redis has one hash for each scope and window, incremented atomically: concurrent calls are all
    counted, unlike with DRF's list of times, which is read, changed and written back.
    """
    max_calls, seconds = _rate(scope)
    key, left = _window(scope, seconds)
    try:
        counts = redis_client.call(lambda redis: _increment(redis, key, dict.fromkeys(callers, 1)))
        if set(counts) == {1}:  # the hash is probably new
            redis_client.call(lambda redis: redis.expire(key, seconds))
        over = {
            name
            for (name, multiple), count in zip(callers.items(), counts, strict=True)
            if count > max_calls * multiple
        }
        if over:
            within = dict.fromkeys(callers.keys() - over, -1)
            redis_client.call(lambda redis: _increment(redis, key, within))
    except RedisUnavailable:
        return 0
    return left if over else 0


def uncount_call(scope: str, name: str) -> None:
    """Take back the last call counted for this name."""
    key, _ = _window(scope, _rate(scope)[1])
    with suppress(RedisUnavailable):
        redis_client.call(lambda redis: _increment(redis, key, {name: -1}))


def _increment(redis: Redis, key: str, amounts: dict[str, int]) -> list[int]:
    pipe = redis.pipeline(transaction=False)
    for name, amount in amounts.items():
        pipe.hincrby(key, name, amount)
    return pipe.execute()


def _rate(scope: str) -> tuple[int, int]:
    """(maximum number of calls, length of the window in seconds)"""
    return _parse(Throttle.THROTTLE_RATES[scope])


@cache
def _parse(rate: str) -> tuple[int, int]:
    max_calls, seconds = Throttle().parse_rate(rate)
    assert max_calls is not None
    assert seconds is not None
    return max_calls, seconds


def _window(scope: str, seconds: int) -> tuple[str, float]:
    """(Redis key of the current window, seconds until it ends)"""
    now = time.time()
    return f"throttle:{scope}:{int(now // seconds)}", seconds - now % seconds


def address_of(request: HttpRequest | Request) -> str:
    """
    The caller's address as our own proxies saw it (`TRUSTED_PROXIES`), without a port.

    For IPv6 the /64 network, because one caller has 2^64 addresses in it.
    """
    return _address(Throttle().get_ident(cast("Request", request)) or "")  # reads only headers


@lru_cache(maxsize=4096)
def _address(given: str) -> str:
    if with_port := WITH_PORT.fullmatch(given):
        given = with_port[1] or with_port[2] or given
    try:
        address = ip_address(given)
    except ValueError:
        return given[:MAX_ADDRESS_CHARS]
    if not isinstance(address, IPv6Address):
        return str(address)
    if address.ipv4_mapped:
        return str(address.ipv4_mapped)
    return str(IPv6Address(int(address) >> NETWORK_BITS << NETWORK_BITS))
