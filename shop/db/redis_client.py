"""
The shop's own use of Redis: pending flags of notifications, throttles, counters. All are optional.

Buyers must not wait for an unavailable Redis. A command has a timeout of a fraction of a second;
after a failure this process does not use Redis for `REDIS_AVOIDED_SECONDS`.
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
    """Redis did not answer this command or a recent one. Continue without it."""


@cache
def _client() -> Redis:
    """One per process, created after fork."""
    return Redis.from_url(
        settings.REDIS_URL,
        socket_timeout=settings.REDIS_TIMEOUT_SECONDS,
        socket_connect_timeout=settings.REDIS_TIMEOUT_SECONDS,
        retry=Retry(NoBackoff(), 0),
    )


def call(command: Callable[[Redis], Reply]) -> Reply:
    """:raises RedisUnavailable: after `REDIS_TIMEOUT_SECONDS`, or at once after a failure."""
    if time.monotonic() < _avoided_until:
        raise RedisUnavailable
    try:
        return command(_client())
    except (RedisError, OSError) as error:
        avoid(error)
        raise RedisUnavailable from error


def avoid(error: Exception) -> None:
    """Do not use Redis for `REDIS_AVOIDED_SECONDS`."""
    global _avoided_until  # noqa: PLW0603 - per process
    _avoided_until = time.monotonic() + settings.REDIS_AVOIDED_SECONDS
    logger.warning("redis is unavailable: %r", error)


def try_again() -> None:
    """Use Redis again at once."""
    global _avoided_until  # noqa: PLW0603 - per process
    _avoided_until = 0.0
