"""How much and how often: the size of bodies, and the pace of callers and of addresses."""

from __future__ import annotations

import io
import re
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cache, lru_cache
from ipaddress import IPv6Address, ip_address
from typing import cast

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from redis import Redis
from rest_framework.request import Request
from rest_framework.throttling import ScopedRateThrottle
from rest_framework.views import APIView

from shop.api.errors import CUT_SHORT, plain
from shop.db import redis_client
from shop.db.redis_client import RedisUnavailable

WEBHOOK_PATH = "/api/webhooks/"
LENGTH = re.compile("[0-9]{0,18}")
MAX_ADDRESS = 64  # of what a proxy calls an address
# With a port, which differs for each connection: `1.2.3.4:5678`, `[::1]:5678`.
WITH_PORT = re.compile(r"\[([^]]*)\](?::[0-9]*)?|([^:]*):[0-9]*")
NETWORK_BITS = 64  # of an IPv6 address: the rest is the caller's own to choose


class RefuseLargeBodies:
    """
    413 for a body that is too large: before any of it is read where it says so, and after the limit
    where it comes in chunks. A body within the limit is read to its end whatever becomes of the
    request, because the server closes a connection with an unread rest under the next request.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        limit = (
            settings.MAX_WEBHOOK_BYTES
            if request.path.startswith(WEBHOOK_PATH)
            else settings.MAX_BODY_BYTES
        )
        if not request.META.get("CONTENT_LENGTH") and "HTTP_TRANSFER_ENCODING" in request.META:
            if not request.META.get("wsgi.input_terminated"):
                return closing(411, "length_required", "The request does not say how long it is.")
            try:
                _read_chunks(request, most=limit + 1)
            except OSError:
                return closing(400, "bad_request", CUT_SHORT)
        length = request.META.get("CONTENT_LENGTH", "")
        if not LENGTH.fullmatch(length):
            return closing(400, "bad_request", "The length of the request is not a number.")
        if int(length or 0) > limit:
            return closing(413, "too_large", f"The request is larger than {limit} bytes.")
        response = self.get_response(request)
        with suppress(OSError):
            request._stream.read()  # noqa: SLF001 - what Django reads bodies from
        return response


def _read_chunks(request: HttpRequest, *, most: int) -> None:
    """
    Read a body without a length, and let the request be one with a length: Django reads none
    otherwise, and a signature would be compared with that of no bytes.
    """
    body = request.META["wsgi.input"].read(most)
    request._stream = io.BytesIO(body)  # noqa: SLF001 - as above
    request.META["CONTENT_LENGTH"] = str(len(body))


def closing(status_code: int, code: str, message: str) -> HttpResponse:
    """A refusal that leaves a part of the body unread, and says that the connection ends."""
    response = plain(status_code, code, message)
    response["Connection"] = "close"
    return response


class Throttle(ScopedRateThrottle):
    """
    So many requests in a window of time for each caller and scope; who has no account is called by
    the address. `CALLERS_PER_ADDRESS` times as many for an address, or one that makes itself new
    guests would have no limit.
    """

    def allow_request(self, request: Request, view: APIView) -> bool:
        scope = getattr(view, "throttle_scope", None)
        if not scope:
            return True
        address = address_of(request)
        if request.user and request.user.is_authenticated:
            calls = {f"user {request.user.pk}": 1, address: settings.CALLERS_PER_ADDRESS}
        else:
            calls = {address: 1}
        self.wait_seconds = wait_seconds(scope, calls)
        return not self.wait_seconds

    def wait(self) -> float:
        return self.wait_seconds


def wait_seconds(scope: str, calls: dict[str, int]) -> float:
    """
    Count a call for each of these names, and say how long to wait if one of them calls too often;
    0 if none does, or Redis is away. A name may have its number of times the rate of the scope.

    A call that is refused for one name is not counted for the others: who calls on and on uses up
    nobody's pace but their own. A hash for each scope and window, raised by one command for each
    name: unlike DRF's list of times, which is read, changed and written back, it counts requests
    that come at once.
    """
    most, seconds = _rate(scope)
    key, left = _window(scope, seconds)
    try:
        counts = redis_client.call(lambda it: _add(it, key, dict.fromkeys(calls, 1)))
        if set(counts) == {1}:  # as whoever comes first to a new hash finds them
            redis_client.call(lambda it: it.expire(key, seconds))
        late = {
            name
            for (name, times), count in zip(calls.items(), counts, strict=True)
            if count > most * times
        }
        if late:
            redis_client.call(lambda it: _add(it, key, dict.fromkeys(calls.keys() - late, -1)))
    except RedisUnavailable:
        return 0
    return left if late else 0


def take_back(scope: str, name: str) -> None:
    """Let the last call of this name not have counted."""
    key, _ = _window(scope, _rate(scope)[1])
    with suppress(RedisUnavailable):
        redis_client.call(lambda it: _add(it, key, {name: -1}))


def _add(redis: Redis, key: str, calls: dict[str, int]) -> list[int]:
    pipe = redis.pipeline(transaction=False)
    for name, number in calls.items():
        pipe.hincrby(key, name, number)
    return pipe.execute()


def _rate(scope: str) -> tuple[int, int]:
    """(most calls, in so many seconds)"""
    return _parsed(Throttle.THROTTLE_RATES[scope])


@cache
def _parsed(rate: str) -> tuple[int, int]:
    most, seconds = Throttle().parse_rate(rate)
    assert most is not None
    assert seconds is not None
    return most, seconds


def _window(scope: str, seconds: int) -> tuple[str, float]:
    """(the key of the window we are in, seconds until it ends)"""
    now = time.time()
    return f"throttle:{scope}:{int(now // seconds)}", seconds - now % seconds


def address_of(request: HttpRequest | Request) -> str:
    """
    Where the request comes from, as far as our own proxies saw it (`TRUSTED_PROXIES`).

    Of an IPv6 address the network: a caller has 2^64 addresses in it to call from. Without the port
    that some proxies add.
    """
    return _address(Throttle().get_ident(cast("Request", request)) or "")  # it reads headers alone


@lru_cache(maxsize=4096)
def _address(given: str) -> str:
    if with_port := WITH_PORT.fullmatch(given):
        given = with_port[1] or with_port[2] or given
    try:
        address = ip_address(given)
    except ValueError:
        return given[:MAX_ADDRESS]
    if not isinstance(address, IPv6Address):
        return str(address)
    if address.ipv4_mapped:
        return str(address.ipv4_mapped)
    return str(IPv6Address(int(address) >> NETWORK_BITS << NETWORK_BITS))
