"""How much and how often: the size of bodies, and the pace of callers."""

from __future__ import annotations

import re
from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from rest_framework.request import Request
from rest_framework.throttling import ScopedRateThrottle
from rest_framework.views import APIView

from shop import redis_client
from shop.api.errors import plain
from shop.redis_client import RedisAway

WEBHOOK_PATH = "/api/webhooks/"


LENGTH = re.compile("[0-9]{0,18}")


class RefuseLargeBodies:
    """413 for a body that says it is too large, before any of it is read."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        limit = (
            settings.LARGEST_WEBHOOK_BYTES
            if request.path.startswith(WEBHOOK_PATH)
            else settings.LARGEST_BODY_BYTES
        )
        length = request.META.get("CONTENT_LENGTH", "")
        if not LENGTH.fullmatch(length):
            return plain(400, "bad_request", "The length of the request is not a number.")
        if int(length or 0) > limit:
            return plain(413, "too_large", f"The request is larger than {limit} bytes.")
        return self.get_response(request)


class Throttle(ScopedRateThrottle):
    """
    So many requests a minute for each caller and scope, counted in Redis; none when Redis is away.

    One counter per caller and window, raised by one command: unlike DRF's list of times, which is
    read, changed and written back, it counts requests that come at once.
    """

    def allow_request(self, request: Request, view: APIView) -> bool:
        scope = getattr(view, "throttle_scope", None)
        if not scope:
            return True
        most, seconds = self.parse_rate(self.THROTTLE_RATES[scope])
        if most is None or seconds is None:
            return True
        self.scope = scope
        self.seconds_left = seconds - self.timer() % seconds
        key = f"{self.get_cache_key(request, view)}:{int(self.timer()) // seconds}"
        try:
            count = redis_client.call(lambda it: it.incr(key))
            if count == 1:
                redis_client.call(lambda it: it.expire(key, seconds))
        except RedisAway:
            return True
        return count <= most

    def wait(self) -> float:
        return self.seconds_left
