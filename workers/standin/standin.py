"""One running stand-in: its world, its outbox, its troubles, and what resets them all."""

import asyncio
import base64
import dataclasses
import random
from collections import Counter, defaultdict

from workers.standin.behaviour import Behaviour
from workers.standin.clock import Clock, Timers
from workers.standin.courier import HttpCourier
from workers.standin.faults import Faults
from workers.standin.settings import Settings
from workers.standin.webhooks import Outbox
from workers.standin.world import World


class Traffic:
    """What was asked of each route, how it was answered, and how many calls at once."""

    def __init__(self) -> None:
        self.answers: dict[str, Counter[str]] = defaultdict(Counter)
        self.in_flight = 0
        self.peak_in_flight = 0

    def begin(self) -> None:
        self.in_flight += 1
        self.peak_in_flight = max(self.peak_in_flight, self.in_flight)

    def end(self, route: str, outcome: str) -> None:
        self.in_flight -= 1
        self.answers[route][outcome] += 1


class Standin:
    """Everything that a request can touch. Must be made inside a running event loop."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        credentials = f"{settings.key_id}:{settings.key_secret}".encode()
        self.authorization = f"Basic {base64.b64encode(credentials).decode()}"
        self._alarm: asyncio.TimerHandle | None = None
        self.clock = Clock()
        self.timers = Timers(self.clock)
        self.courier = HttpCourier(self.clock)
        self.released = asyncio.Event()
        self._begin()

    def _begin(self) -> None:
        settings = self.settings
        self.clock.restore()
        self.rng = random.Random(settings.seed)  # noqa: S311 - repeatable on purpose
        self.behaviour: Behaviour = dataclasses.replace(settings.at_start)
        self.timers.scale = self.behaviour.time_scale
        self.timers.on_change = self._arm
        self.faults = Faults(self.rng)
        self.traffic = Traffic()
        self.busy: set[str] = set()
        self.secrets = list(settings.webhook_secrets)
        self.outbox = Outbox(
            clock=self.clock,
            timers=self.timers,
            rng=self.rng,
            behaviour=self.behaviour,
            courier=self.courier,
        )
        for url in settings.webhook_urls:
            self.outbox.add_endpoint(url, self.secrets[0])
        self.world = World(
            clock=self.clock,
            timers=self.timers,
            rng=self.rng,
            behaviour=self.behaviour,
            emit=self.outbox.emit,
        )

    def reset(self) -> None:
        """
        Be as just started: no orders, no faults, the settings of the environment.

        Hanging calls are let go and webhooks under way are forgotten.
        """
        self.release()
        self.timers.clear()
        self.courier.drop_all()
        self._begin()

    def release(self) -> None:
        """Let every call that hangs or stalls go on."""
        self.released.set()
        self.released = asyncio.Event()

    def _arm(self) -> None:
        """Wake up when the next timer is due; a stopped clock wakes nobody."""
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        due_at = self.timers.next_at()
        if due_at is None or self.clock.frozen_at is not None:
            return
        wait_seconds = max(due_at - self.clock.now(), 0)
        self._alarm = asyncio.get_running_loop().call_later(wait_seconds, self.timers.run_due)
