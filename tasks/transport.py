"""
Changes to how Celery's worker and kombu talk to the broker.

Each method says what it changes, why, and when it can be removed. Two changes save time: together
they halve the cost of an empty task (docs/decisions/speed.md; kombu 5.7, redis-py 8.1). The others
keep a worker alive when Redis stops, and when a message arrives that this shop has not sent.
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
# kombu raises these over a queue entry that kombu has not written.
UNREADABLE = (AttributeError, DataError, LookupError, RecursionError, TypeError, ValueError)
# The headers that our tasks read, all of them text. Celery sends others too.
HEADERS = frozenset(
    {
        *("task", "id", "root_id", "parent_id", "lang", "origin", "argsrepr", "kwargsrepr"),
        *("expires", "request_id", "traceparent", "tracestate", "baggage"),
    }
)

logger = logging.getLogger(__name__)


class Channel(kombu_redis.Channel):
    _kept: Redis | None = None

    def _create_client(self, asynchronous: bool = False) -> Any:
        """
        Keep one client for the channel. Threads may share it.

        kombu makes a client for every command: six in a task, 0.4 ms each. Remove when kombu keeps
        its client.
        """
        if asynchronous:  # kombu makes this one once
            return super()._create_client(asynchronous=True)
        if self._kept is None or self._kept.connection_pool is not self.pool:
            self._kept = super()._create_client()
        return self._kept

    def _get_pool(self, asynchronous: bool = False) -> Any:
        """
        Raise ConnectionError for a channel whose connection is closed; Celery then reconnects.

        kombu raises AttributeError, which ends the worker when Redis stops. Remove when
        tests/db/test_transport.py passes without it.
        """
        if self.connection is None or self.connection.client is None:
            raise ConnectionError("the connection of this channel is closed")
        return super()._get_pool(asynchronous)

    def _brpop_read(self, **options: Any) -> Any:
        """
        Drop and count a queue entry that kombu cannot read. It has left its queue already.

        In kombu the error ends the worker. Remove when kombu handles unreadable entries.
        """
        try:
            return super()._brpop_read(**options)
        except UNREADABLE as error:
            count_foreign(error)
            return True


class Transport(kombu_redis.Transport):
    Channel = Channel


# Every connection to a redis:// or rediss:// URL uses our transport.
TRANSPORT_ALIASES |= dict.fromkeys(("redis", "rediss"), "tasks.transport:Transport")


class Consumer(CeleryConsumer):
    """
    Rejects foreign messages and batches the events for Flower.

    Celery 5.7 ends the worker over some foreign messages and returns them to the queue, where they
    end the next worker. Remove `create_task_handler`, `on_decode_error` and `on_invalid_task` when
    tests/journey/test_foreign_messages.py passes without them.
    """

    def create_task_handler(self, *promise: Any) -> Callable[[Message], None]:
        """Check each message before Celery sees it, and reject those that raise in Celery."""
        receive = super().create_task_handler(*promise)
        broker = self.app.connection_for_read()
        ours = {name for name in self.app.tasks if not name.startswith("celery.")}
        # kombu lists KeyError among the errors of a connection; here it concerns the message.
        unavailable = {*broker.connection_errors, *broker.channel_errors} - {KeyError}

        def receive_ours(message: Message) -> None:
            try:
                refuse_foreign(message, tasks=ours)
                keep_our_headers(message)
                receive(message)
            except tuple(unavailable):
                raise  # Celery reconnects
            except Exception as error:  # noqa: BLE001 - whatever is wrong with it
                self.reject(message, error)

        return receive_ours

    def on_decode_error(self, message: Message, exc: Exception) -> None:
        self.reject(message, exc)

    def on_invalid_task(self, _body: object, message: Message, exc: Exception) -> None:
        self.reject(message, exc)

    def reject(self, message: Message, error: Exception) -> None:
        """Drop the message. A broker with a dead-letter queue moves it there."""
        count_foreign(error)
        if not message.acknowledged:
            message.reject_log_error(logger, self.connection_errors)

    def on_send_event_buffered(self) -> Any:
        """
        Do not send an event to Flower at once: a timer sends all of them four times a second.

        Celery sends three for each task, one by one. A full buffer is still sent at once. Remove
        when Celery can send them together.
        """

    def register_with_event_loop(self, hub: Any) -> None:
        super().register_with_event_loop(hub)
        hub.call_repeatedly(EVENTS_EVERY_SECONDS, self._flush_events)

    def stop(self) -> None:
        self._flush_events()
        super().stop()


class Foreign(Exception):
    """The message was not sent by this shop; the text says how it differs."""


def refuse_foreign(message: Message, *, tasks: Collection[str]) -> None:
    """
    Accept a message for one of `tasks` with keyword arguments only, to run now, with no callbacks.

    :raises Foreign: it is another message.
    :raises Exception: kombu cannot decode the body, and raises various errors.
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
    Remove the headers that no task of ours reads.

    Celery raises over some values of those headers outside the task and does not acknowledge the
    message: a worker that received as many of these as it has threads takes no more messages.

    :raises Foreign: one of our headers is not text.
    """
    ours = {name: message.headers[name] for name in HEADERS & message.headers.keys()}
    if wrong := [name for name, value in ours.items() if not isinstance(value, str | None)]:
        raise Foreign(f"headers that are not text: {wrong}")
    message.headers = ours


def count_foreign(error: Exception) -> None:
    """Count and log a dropped message, but not its content, which may be anything."""
    FOREIGN_MESSAGES.inc()
    logger.error("a message that is not ours was dropped: %.200r", error)
