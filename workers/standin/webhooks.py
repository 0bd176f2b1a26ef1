"""
The outbox: which endpoints receive an event, when a delivery is retried, and when it is given up.

It sends nothing itself: a `WebhookSender` makes one attempt and reports the result.
"""

import dataclasses
import hashlib
import hmac
import random
from collections import Counter, deque
from collections.abc import Callable
from typing import Literal, Protocol

from workers.standin.behaviour import DAY_SECONDS, Behaviour
from workers.standin.clock import Clock, Timers
from workers.standin.events import event_body
from workers.standin.json_fields import JsonFields
from workers.standin.methods import entity_tail
from workers.standin.records import Dispute, Payment, Refund

# The waits after each failed attempt, as measured; 82 thousand seconds in total.
RETRY_WAITS_SECONDS = (6, 13, 21, 42, 82, 162, 324, 643, 1284, 2563, 5127, 10241, 20481, 40964)
# After a first answer of 5xx, only for these events, one quick retry precedes those waits.
QUICK_RETRY_SECONDS = 0.23
QUICK_RETRY_EVENTS = ("payment.authorized", "payment.captured", "order.paid")
# The first wait of these events is longer.
# The first wait of these events is longer.
SLOW_RETRY_EVENTS = ("refund.created", "payment.failed")
SLOW_RETRY_SECONDS = (6, 9)
DISABLE_AFTER_SECONDS = DAY_SECONDS
LOG_LENGTH = 20_000
# The time between two sends in an order that a script chose, so that they arrive in that order.
STAGGER_SECONDS = 0.05


@dataclasses.dataclass(slots=True)
class Endpoint(JsonFields):
    """A subscribed address. Empty `events`: all of them. `secret` signs new events only."""

    id: str
    url: str
    secret: str
    events: tuple[str, ...] = ()
    paused: bool = False
    disabled: bool = False
    succeeded_at: float = 0

    def wants(self, name: str) -> bool:
        return not self.disabled and (not self.events or name in self.events)


@dataclasses.dataclass(frozen=True, slots=True)
class Event:
    id: str
    name: str
    body: bytes
    created_at: float


@dataclasses.dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt. If `status` is None there was no answer, and `error` says why."""

    at: float
    status: int | None
    error: str | None
    took_ms: float


@dataclasses.dataclass(slots=True)
class Delivery:
    """One event to one endpoint, with all its attempts."""

    id: str
    event: Event
    endpoint: Endpoint
    signature: str
    state: Literal["waiting", "delivered", "dropped", "given_up"] = "waiting"
    attempts: list[Attempt] = dataclasses.field(default_factory=list)
    retries: int = 0

    def headers(self) -> dict[str, str]:
        return {
            "User-Agent": "Razorpay-Webhook/v1",
            "Content-Type": "application/json",
            "Accept-Encoding": "gzip",
            "Request-Id": self.event.id,
            "X-Razorpay-Event-Id": self.event.id,
            "X-Razorpay-Signature": self.signature,
        }


@dataclasses.dataclass(slots=True)
class Script(JsonFields):
    """
    What happens to deliveries. `only` names the events that it applies to; empty: all of them.

    A dropped delivery is never retried. While paused, all deliveries are held.
    """

    paused: bool = False
    drop_all: bool = False
    drop_next: int = 0
    copies: int = 1
    delay_seconds: float = 0
    order: Literal["sent", "shuffled", "reversed"] = "sent"
    hold_seconds: float = 0.5  # deliveries are collected for this time and sent in that order
    only: tuple[str, ...] = ()

    def applies_to(self, name: str) -> bool:
        return not self.only or name in self.only

    def drops_next(self) -> bool:
        """Whether the next delivery is dropped. Counts `drop_next` down."""
        if self.drop_all:
            return True
        if self.drop_next > 0:
            self.drop_next -= 1
            return True
        return False


class WebhookSender(Protocol):
    """Makes one attempt, and calls `done` once with its result."""

    def send(
        self, delivery: Delivery, *, timeout_seconds: float, done: Callable[[Attempt], None]
    ) -> None: ...


class Outbox:
    """All deliveries of one account."""

    def __init__(
        self,
        *,
        clock: Clock,
        timers: Timers,
        rng: random.Random,
        behaviour: Behaviour,
        sender: WebhookSender,
    ) -> None:
        self.clock = clock
        self.timers = timers
        self.rng = rng
        self.behaviour = behaviour
        self.sender = sender
        self.script = Script()
        self.endpoints: dict[str, Endpoint] = {}
        self.log: deque[Delivery] = deque(maxlen=LOG_LENGTH)
        self.events_made: Counter[str] = Counter()
        self._held: list[Delivery] = []
        self._batch: list[Delivery] = []

    def add_endpoint(self, url: str, secret: str, events: tuple[str, ...] = ()) -> Endpoint:
        endpoint = Endpoint(f"we_{entity_tail(self.rng)}", url, secret, events)
        self.endpoints[endpoint.id] = endpoint
        return endpoint

    def emit(self, name: str, payment: Payment, subject: Refund | Dispute | None = None) -> None:
        """Send an event to every endpoint that wants it, with the same event id and bytes."""
        self.events_made[name] += 1
        endpoints = [endpoint for endpoint in self.endpoints.values() if endpoint.wants(name)]
        if not endpoints:
            return
        now = self.clock.now()
        body = event_body(name, payment, subject, created_at=now, behaviour=self.behaviour)
        event = Event(entity_tail(self.rng), name, body, now)
        for endpoint in endpoints:
            self._post(self._new_delivery(event, endpoint))

    def _new_delivery(self, event: Event, endpoint: Endpoint) -> Delivery:
        delivery = Delivery(
            id=f"dlv_{entity_tail(self.rng)}",
            event=event,
            endpoint=endpoint,
            signature=signature(event.body, endpoint.secret),
        )
        self.log.append(delivery)
        return delivery

    def _post(self, delivery: Delivery) -> None:
        script = self.script
        if not script.applies_to(delivery.event.name):
            self._start(delivery, after_seconds=self._spread())
        elif script.drops_next():
            delivery.state = "dropped"
        elif script.order != "sent":
            self._add_to_batch(delivery)
        else:
            for _ in range(script.copies):
                self._start(delivery, after_seconds=self._spread() + script.delay_seconds)

    def _spread(self) -> float:
        return self.rng.uniform(0, self.behaviour.webhook_spread_seconds)

    def _add_to_batch(self, delivery: Delivery) -> None:
        if not self._batch:
            self.timers.after(self.script.hold_seconds, self._send_batch)
        self._batch.extend([delivery] * self.script.copies)

    def _send_batch(self) -> None:
        batch, self._batch = self._batch, []
        if self.script.order == "reversed":
            batch.reverse()
        else:
            self.rng.shuffle(batch)
        for position, delivery in enumerate(batch):
            wait_seconds = self.script.delay_seconds + position * STAGGER_SECONDS
            self._start(delivery, after_seconds=wait_seconds)

    def _start(self, delivery: Delivery, *, after_seconds: float) -> None:
        self.timers.after(after_seconds, lambda: self._attempt(delivery))

    def _attempt(self, delivery: Delivery) -> None:
        if delivery.endpoint.disabled or delivery.endpoint.id not in self.endpoints:
            delivery.state = "given_up"
        elif self.script.paused or delivery.endpoint.paused:
            self._held.append(delivery)
        else:
            self.sender.send(
                delivery,
                timeout_seconds=self.behaviour.webhook_timeout_seconds,
                done=lambda attempt: self._record(delivery, attempt),
            )

    def _record(self, delivery: Delivery, attempt: Attempt) -> None:
        delivery.attempts.append(attempt)
        if attempt.status is not None and 200 <= attempt.status < 300:
            delivery.state = "delivered"
            delivery.endpoint.succeeded_at = self.clock.now()
        else:
            self._retry_later(delivery, attempt)

    def _retry_later(self, delivery: Delivery, attempt: Attempt) -> None:
        if self._gets_quick_retry(delivery, attempt):
            self._start(delivery, after_seconds=QUICK_RETRY_SECONDS)
        elif delivery.retries < len(RETRY_WAITS_SECONDS):
            wait_seconds = RETRY_WAITS_SECONDS[delivery.retries] * self.rng.uniform(0.99, 1.01)
            if delivery.retries == 0 and delivery.event.name in SLOW_RETRY_EVENTS:
                wait_seconds = self.rng.uniform(*SLOW_RETRY_SECONDS)
            delivery.retries += 1
            self._start(delivery, after_seconds=wait_seconds)
        else:
            delivery.state = "given_up"
            self._disable_if_dead(delivery)

    def _gets_quick_retry(self, delivery: Delivery, attempt: Attempt) -> bool:
        return (
            len(delivery.attempts) == 1
            and attempt.status is not None
            and attempt.status >= 500
            and delivery.event.name in QUICK_RETRY_EVENTS
        )

    def _disable_if_dead(self, delivery: Delivery) -> None:
        """Disable the endpoint a day after the event, if no delivery succeeded in that day."""
        event, endpoint = delivery.event, delivery.endpoint
        passed_seconds = (self.clock.now() - event.created_at) * self.timers.scale

        def disable() -> None:
            if endpoint.succeeded_at < event.created_at:
                endpoint.disabled = True

        self.timers.after(max(DISABLE_AFTER_SECONDS - passed_seconds, 0), disable)

    def resume(self) -> None:
        """Attempt the held deliveries now. Those that are still paused are held again."""
        held, self._held = self._held, []
        for delivery in held:
            self._attempt(delivery)

    def replay(self, event_id: str) -> list[Delivery]:
        """Send an event again to each of its endpoints, with the same id, bytes and signature."""
        originals = {d.endpoint.id: d for d in self.log if d.event.id == event_id}
        again = [
            dataclasses.replace(d, id=f"dlv_{entity_tail(self.rng)}", state="waiting", attempts=[])
            for d in originals.values()
        ]
        for delivery in again:
            delivery.retries = 0
            self.log.append(delivery)
            self._start(delivery, after_seconds=0)
        return again

    def waiting_count(self) -> int:
        """How many deliveries are still to be attempted."""
        return sum(delivery.state == "waiting" for delivery in self.log)


def signature(body: bytes, secret: str) -> str:
    return hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
