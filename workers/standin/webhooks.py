"""
The outbox: who is told of an event, when it is tried again, and when Razorpay gives up.

No HTTP here: a courier carries one attempt and reports how it went.
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
from workers.standin.methods import entity_tail
from workers.standin.records import Dispute, Payment, Refund
from workers.standin.switches import Switches

# Waits between one failed try and the next, as measured; in all 82 thousand seconds.
LADDER_SECONDS = (6, 13, 21, 42, 82, 162, 324, 643, 1284, 2563, 5127, 10241, 20481, 40964)
# After a first 5xx, and only for these events, there is one quick try before the ladder.
QUICK_RETRY_SECONDS = 0.23
QUICK_RETRY_EVENTS = ("payment.authorized", "payment.captured", "order.paid")
LATE_STARTERS = ("refund.created", "payment.failed")
LATE_START_SECONDS = (6, 9)
WINDOW_SECONDS = DAY_SECONDS
LOG_LENGTH = 20_000
# Between two sends whose order a script has chosen, so that they arrive in that order.
STAGGER_SECONDS = 0.05


@dataclasses.dataclass(slots=True)
class Endpoint(Switches):
    """A subscribed address. `events` empty: all. Its `secret` signs events made from now on."""

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
    """`status` of `None`: no answer came; `error` says why."""

    at: float
    status: int | None
    error: str | None
    took_ms: float


@dataclasses.dataclass(slots=True)
class Delivery:
    """One event on its way to one endpoint, with all its tries."""

    id: str
    event: Event
    endpoint: Endpoint
    signature: str
    state: Literal["waiting", "delivered", "dropped", "given_up"] = "waiting"
    attempts: list[Attempt] = dataclasses.field(default_factory=list)
    rung: int = 0

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
class Script(Switches):
    """
    What befalls deliveries on their way. `only` names the events it is for; empty: all.

    A dropped delivery is never tried again: lost for good. While paused, all are held.
    """

    paused: bool = False
    drop_all: bool = False
    drop_next: int = 0
    copies: int = 1
    delay_seconds: float = 0
    order: Literal["sent", "shuffled", "reversed"] = "sent"
    hold_seconds: float = 0.5  # how long a hand is gathered before it is dealt in that order
    only: tuple[str, ...] = ()

    def concerns(self, name: str) -> bool:
        return not self.only or name in self.only

    def takes(self) -> bool:
        """Whether the next delivery is lost; counts it off."""
        if self.drop_all:
            return True
        if self.drop_next > 0:
            self.drop_next -= 1
            return True
        return False


class Courier(Protocol):
    """Carries one attempt, and calls `done` once with how it went."""

    def process(
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
        courier: Courier,
    ) -> None:
        self.clock = clock
        self.timers = timers
        self.rng = rng
        self.behaviour = behaviour
        self.courier = courier
        self.script = Script()
        self.endpoints: dict[str, Endpoint] = {}
        self.log: deque[Delivery] = deque(maxlen=LOG_LENGTH)
        self.events_made: Counter[str] = Counter()
        self._held: list[Delivery] = []
        self._hand: list[Delivery] = []

    def add_endpoint(self, url: str, secret: str, events: tuple[str, ...] = ()) -> Endpoint:
        endpoint = Endpoint(f"we_{entity_tail(self.rng)}", url, secret, events)
        self.endpoints[endpoint.id] = endpoint
        return endpoint

    def emit(self, name: str, payment: Payment, about: Refund | Dispute | None = None) -> None:
        """Tell every endpoint that wants it; all get the same event id and bytes."""
        self.events_made[name] += 1
        wanted_by = [endpoint for endpoint in self.endpoints.values() if endpoint.wants(name)]
        if not wanted_by:
            return
        now = self.clock.now()
        body = event_body(name, payment, about, created_at=now, behaviour=self.behaviour)
        event = Event(entity_tail(self.rng), name, body, now)
        for endpoint in wanted_by:
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
        if not script.concerns(delivery.event.name):
            self._start(delivery, after_seconds=self._spread())
        elif script.takes():
            delivery.state = "dropped"
        elif script.order != "sent":
            self._gather(delivery)
        else:
            for _ in range(script.copies):
                self._start(delivery, after_seconds=self._spread() + script.delay_seconds)

    def _spread(self) -> float:
        return self.rng.uniform(0, self.behaviour.webhook_spread_seconds)

    def _gather(self, delivery: Delivery) -> None:
        if not self._hand:
            self.timers.after(self.script.hold_seconds, self._deal)
        self._hand.extend([delivery] * self.script.copies)

    def _deal(self) -> None:
        hand, self._hand = self._hand, []
        if self.script.order == "reversed":
            hand.reverse()
        else:
            self.rng.shuffle(hand)
        for position, delivery in enumerate(hand):
            wait_seconds = self.script.delay_seconds + position * STAGGER_SECONDS
            self._start(delivery, after_seconds=wait_seconds)

    def _start(self, delivery: Delivery, *, after_seconds: float) -> None:
        self.timers.after(after_seconds, lambda: self._try(delivery))

    def _try(self, delivery: Delivery) -> None:
        if delivery.endpoint.disabled or delivery.endpoint.id not in self.endpoints:
            delivery.state = "given_up"
        elif self.script.paused or delivery.endpoint.paused:
            self._held.append(delivery)
        else:
            self.courier.process(
                delivery,
                timeout_seconds=self.behaviour.webhook_timeout_seconds,
                done=lambda attempt: self._tried(delivery, attempt),
            )

    def _tried(self, delivery: Delivery, attempt: Attempt) -> None:
        delivery.attempts.append(attempt)
        if attempt.status is not None and 200 <= attempt.status < 300:
            delivery.state = "delivered"
            delivery.endpoint.succeeded_at = self.clock.now()
        else:
            self._try_later(delivery, attempt)

    def _try_later(self, delivery: Delivery, attempt: Attempt) -> None:
        if self._deserves_quick_retry(delivery, attempt):
            self._start(delivery, after_seconds=QUICK_RETRY_SECONDS)
        elif delivery.rung < len(LADDER_SECONDS):
            wait_seconds = LADDER_SECONDS[delivery.rung] * self.rng.uniform(0.99, 1.01)
            if delivery.rung == 0 and delivery.event.name in LATE_STARTERS:
                wait_seconds = self.rng.uniform(*LATE_START_SECONDS)
            delivery.rung += 1
            self._start(delivery, after_seconds=wait_seconds)
        else:
            delivery.state = "given_up"
            self._close_window(delivery)

    def _deserves_quick_retry(self, delivery: Delivery, attempt: Attempt) -> bool:
        return (
            len(delivery.attempts) == 1
            and attempt.status is not None
            and attempt.status >= 500
            and delivery.event.name in QUICK_RETRY_EVENTS
        )

    def _close_window(self, delivery: Delivery) -> None:
        """A day after the event its endpoint is disabled, if nothing got through in that day."""
        event, endpoint = delivery.event, delivery.endpoint
        passed_seconds = (self.clock.now() - event.created_at) * self.timers.scale

        def disable_if_dead() -> None:
            if endpoint.succeeded_at < event.created_at:
                endpoint.disabled = True

        self.timers.after(max(WINDOW_SECONDS - passed_seconds, 0), disable_if_dead)

    def resume(self) -> None:
        """Try at once what was held while paused, as far as nothing is paused any more."""
        held, self._held = self._held, []
        for delivery in held:
            self._try(delivery)

    def replay(self, event_id: str) -> list[Delivery]:
        """Send an event again to each of its endpoints: same id, same bytes, same signature."""
        originals = {d.endpoint.id: d for d in self.log if d.event.id == event_id}
        again = [
            dataclasses.replace(d, id=f"dlv_{entity_tail(self.rng)}", state="waiting", attempts=[])
            for d in originals.values()
        ]
        for delivery in again:
            delivery.rung = 0
            self.log.append(delivery)
            self._start(delivery, after_seconds=0)
        return again

    def unsettled(self) -> int:
        """How many deliveries are still to be tried."""
        return sum(delivery.state == "waiting" for delivery in self.log)


def signature(body: bytes, secret: str) -> str:
    return hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
