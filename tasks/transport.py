"""
How Celery talks to the broker: two economies, and two cures. Together the economies halve what a
task costs before it works; the cures keep a worker alive when Redis dies, and when a message comes
that is not ours.

Measured with kombu 5.7 and redis-py 8.1: docs/decisions/speed.md.
"""

# The stubs know less than these classes have.
# mypy: disable-error-code="misc, attr-defined"
from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from typing import Any

from celery.worker.consumer import Consumer as CeleryConsumer
from kombu import Message
from kombu.transport import TRANSPORT_ALIASES
from kombu.transport import redis as kombu_redis
from redis import DataError, Redis

from shop.telemetry.instruments import FOREIGN_MESSAGES

EVENTS_EVERY_SECONDS = 0.25
# What kombu raises over an entry of a queue that no kombu has written.
UNREADABLE = (AttributeError, DataError, LookupError, RecursionError, TypeError, ValueError)
# The headers that our messages use, all of them text. Celery may send others; no task reads them.
HEADERS = frozenset(
    {
        *("task", "id", "root_id", "parent_id", "lang", "origin", "argsrepr", "kwargsrepr"),
        *("expires", "request_id", "traceparent", "tracestate", "baggage"),
    }
)

logger = logging.getLogger(__name__)


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

    def _brpop_read(self, **options: Any) -> Any:
        """An entry that kombu cannot read has left its queue already, so it is dropped by that."""
        try:
            return super()._brpop_read(**options)
        except UNREADABLE as error:
            count_foreign(error)
            return True


class Transport(kombu_redis.Transport):
    Channel = Channel


TRANSPORT_ALIASES |= dict.fromkeys(("redis", "rediss"), "tasks.transport:Transport")


class Consumer(CeleryConsumer):
    """
    Sends what Flower hears of tasks a few times a second, not thrice for each task. Rejects what is
    not a message of ours, and goes on: Celery 5.7 ends the worker over some of them and puts them
    back, so that they end the next one too.
    """

    def create_task_handler(self, *promise: Any) -> Callable[[Message], None]:
        receive = super().create_task_handler(*promise)
        broker = self.app.connection_for_read()
        ours = {name for name in self.app.tasks if not name.startswith("celery.")}
        # kombu counts KeyError among them, but here it is about the message.
        away = {*broker.connection_errors, *broker.channel_errors} - {KeyError}

        def receive_ours(message: Message) -> None:
            try:
                refuse_foreign(message, tasks=ours)
                keep_our_headers(message)
                receive(message)
            except tuple(away):
                raise  # Celery connects again
            except Exception as error:  # noqa: BLE001 - whatever is wrong with it
                self.reject(message, error)

        return receive_ours

    def on_decode_error(self, message: Message, exc: Exception) -> None:
        self.reject(message, exc)

    def on_invalid_task(self, _body: object, message: Message, exc: Exception) -> None:
        self.reject(message, exc)

    def reject(self, message: Message, error: Exception) -> None:
        """Drop it; a broker that has dead-letter queues puts it there."""
        count_foreign(error)
        if not message.acknowledged:
            message.reject_log_error(logger, self.connection_errors)

    def on_send_event_buffered(self) -> Any:
        """The timer sends them; a burst that fills the buffer does so by itself."""

    def register_with_event_loop(self, hub: Any) -> None:
        super().register_with_event_loop(hub)
        hub.call_repeatedly(EVENTS_EVERY_SECONDS, self._flush_events)

    def stop(self) -> None:
        self._flush_events()
        super().stop()


class Foreign(Exception):
    """A message that no process of ours has sent; says in what it differs."""


def refuse_foreign(message: Message, *, tasks: Collection[str]) -> None:
    """
    :raises Foreign: not a task of ours with keyword arguments, to be run at once, with no task
        after it.
    :raises Exception: whatever kombu raises over a body that it cannot decode.
    """
    task, body = message.headers.get("task"), message.payload
    if not isinstance(task, str) or task not in tasks or not message.headers.get("id"):
        raise Foreign(f"no task of ours: {task!r:.80}")
    match body:
        case [[], {}, {**later}] if not any(later.values()) and message.headers.get("eta") is None:
            return
    raise Foreign(f"a body of {task} that none of ours has")


def keep_our_headers(message: Message) -> None:
    """
    Remove what no task of ours reads. Celery fails over some values of other headers outside the
    task, and does not acknowledge the message then: a worker with as many of these as it has
    threads takes no more.

    :raises Foreign: one of ours is not text.
    """
    ours = {name: message.headers[name] for name in HEADERS & message.headers.keys()}
    if wrong := [name for name, value in ours.items() if not isinstance(value, str | None)]:
        raise Foreign(f"headers that are not text: {wrong}")
    message.headers = ours


def count_foreign(error: Exception) -> None:
    """Count and log a message that was dropped. Its content is not logged: it may be anything."""
    FOREIGN_MESSAGES.inc()
    logger.error("a message that is not ours was dropped: %.200r", error)
