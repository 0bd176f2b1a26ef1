"""
Our own words with Redis: doorbells and throttles. All of them can be left unsaid.

Redis away must not make a buyer wait. A command gets a fraction of a second; after one that
failed, Redis is not asked again for some seconds, by this process.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from functools import cache
from typing import TypeVar

from django.conf import settings
from redis import Redis, RedisError
from redis.backoff import NoBackoff
from redis.retry import Retry

logger = logging.getLogger(__name__)

Reply = TypeVar("Reply")

_avoided_until = 0.0  # on the monotonic clock


class RedisUnavailable(Exception):
    """Redis did not answer, or did not a moment ago. Go on without it."""


@cache
def _client() -> Redis:
    """One per process, made after fork."""
    return Redis.from_url(
        settings.REDIS_URL,
        socket_timeout=settings.REDIS_TIMEOUT_SECONDS,
        socket_connect_timeout=settings.REDIS_TIMEOUT_SECONDS,
        retry=Retry(NoBackoff(), 0),
    )


def call(command: Callable[[Redis], Reply]) -> Reply:
    """:raises RedisAway: at once while Redis is avoided, else after `REDIS_TIMEOUT_SECONDS`."""
    if time.monotonic() < _avoided_until:
        raise RedisUnavailable
    try:
        return command(_client())
    except (RedisError, OSError) as error:
        avoid(error)
        raise RedisUnavailable from error


def avoid(error: Exception) -> None:
    """Leave Redis alone for `REDIS_AVOIDED_SECONDS`."""
    global _avoided_until  # noqa: PLW0603 - of this process
    _avoided_until = time.monotonic() + settings.REDIS_AVOIDED_SECONDS
    logger.warning("redis is away: %r", error)


def try_again() -> None:
    """Forget that Redis was away."""
    global _avoided_until  # noqa: PLW0603 - of this process
    _avoided_until = 0.0
