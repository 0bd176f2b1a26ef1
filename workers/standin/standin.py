"""One running stand-in: its account, webhooks, faults and clock, and their reset."""

import asyncio
import base64
import dataclasses
import random
from collections import Counter, defaultdict

from workers.standin.account import Account
from workers.standin.behaviour import Behaviour
from workers.standin.clock import Clock, Timers
from workers.standin.faults import Faults
from workers.standin.sender import HttpSender
from workers.standin.settings import Settings
from workers.standin.webhooks import Outbox


class Traffic:
    """The calls of each route by answer, and the number of concurrent calls."""

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
    """The state that requests use. Create it inside a running event loop."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        credentials = f"{settings.key_id}:{settings.key_secret}".encode()
        self.authorization = f"Basic {base64.b64encode(credentials).decode()}"
        self._next_timer: asyncio.TimerHandle | None = None
        self.clock = Clock()
        self.timers = Timers(self.clock)
        self.sender = HttpSender(self.clock)
        self.waits_ended = asyncio.Event()
        self._initialize()

    def _initialize(self) -> None:
        settings = self.settings
        self.clock.restore()
        self.rng = random.Random(settings.seed)  # noqa: S311 - the same seed must give the same ids
        self.behaviour: Behaviour = dataclasses.replace(settings.at_start)
        self.timers.scale = self.behaviour.time_scale
        self.timers.on_change = self._schedule
        self.faults = Faults(self.rng)
        self.traffic = Traffic()
        self.busy: set[str] = set()
        self.secrets = list(settings.webhook_secrets)
        self.outbox = Outbox(
            clock=self.clock,
            timers=self.timers,
            rng=self.rng,
            behaviour=self.behaviour,
            sender=self.sender,
        )
        for url in settings.webhook_urls:
            self.outbox.add_endpoint(url, self.secrets[0])
        self.account = Account(
            clock=self.clock,
            timers=self.timers,
            rng=self.rng,
            behaviour=self.behaviour,
            emit=self.outbox.emit,
        )

    def reset(self) -> None:
        """
        Return to the state after the start: no orders, no faults, the settings of the environment.

        Hanging calls continue, and webhooks that are being sent are cancelled.
        """
        self.end_waits()
        self.timers.clear()
        self.sender.cancel_all()
        self._initialize()

    def end_waits(self) -> None:
        """Let every call that hangs or stalls continue."""
        self.waits_ended.set()
        self.waits_ended = asyncio.Event()

    def _schedule(self) -> None:
        """Schedule the next timer. Nothing is scheduled while the clock is frozen."""
        if self._next_timer is not None:
            self._next_timer.cancel()
            self._next_timer = None
        due_at = self.timers.next_at()
        if due_at is None or self.clock.frozen_at is not None:
            return
        wait_seconds = max(due_at - self.clock.now(), 0)
        self._next_timer = asyncio.get_running_loop().call_later(wait_seconds, self.timers.run_due)
