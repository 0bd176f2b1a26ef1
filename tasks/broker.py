"""
Two economies in how Celery talks to Redis, and a cure. Together the economies halve what a task
costs before it works.

Measured with kombu 5.7 and redis-py 8.1: docs/decisions/speed.md.
"""

# The stubs know less than these classes have.
# mypy: disable-error-code="misc, attr-defined"
from __future__ import annotations

from typing import Any

from celery.worker.consumer import Consumer as CeleryConsumer
from kombu.transport import TRANSPORT_ALIASES
from kombu.transport import redis as kombu_redis
from redis import Redis

EVENTS_EVERY_SECONDS = 0.25


class Channel(kombu_redis.Channel):
    """
    Keeps its client. kombu makes one for each command, six in the life of a task, at 0.4 ms each.

    A client is a pool and a table of replies: threads may share it.
    """

    _kept: Redis | None = None

    def _create_client(self, asynchronous: bool = False) -> Any:
        if asynchronous:  # made once by kombu too
            return super()._create_client(asynchronous=True)
        if self._kept is None or self._kept.connection_pool is not self.pool:
            self._kept = super()._create_client()
        return self._kept

    def _get_pool(self, asynchronous: bool = False) -> Any:
        """
        A channel whose connection is gone has no address left, and says so in a way that Celery
        takes for what it is. kombu's AttributeError ended the worker when Redis died under it.
        """
        if self.connection is None or self.connection.client is None:
            raise ConnectionError("the connection of this channel is closed")
        return super()._get_pool(asynchronous)


class Transport(kombu_redis.Transport):
    Channel = Channel


TRANSPORT_ALIASES |= dict.fromkeys(("redis", "rediss"), "tasks.broker:Transport")


class Consumer(CeleryConsumer):
    """Sends what Flower hears of tasks a few times a second, not thrice for each task."""

    def on_send_event_buffered(self) -> Any:
        """The timer sends them; a burst that fills the buffer does so by itself."""

    def register_with_event_loop(self, hub: Any) -> None:
        super().register_with_event_loop(hub)
        hub.call_repeatedly(EVENTS_EVERY_SECONDS, self._flush_events)

    def stop(self) -> None:
        self._flush_events()
        super().stop()
