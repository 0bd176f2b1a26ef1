"""A run: buyers come, harm is done, all comes to rest, the three sides are compared."""

from __future__ import annotations

import random
import re
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.prove import checks, crashing, faults, flood, named
from tests.prove.checks import Finding
from tests.prove.client import Client, Tally
from tests.prove.environment import Ground
from tests.prove.faults import Scene
from tests.prove.flood import SALE_SKU, Flood
from tests.prove.plans import OF_THE_LAST_UNIT, PLANS
from tests.prove.recovery import Harm, Watch
from tests.prove.staff import Backroom
from tests.prove.stream import ENOUGH_FAILURES, Stream

WELL_SECONDS = 120  # for the last harm's traces to go, before buyers are sent home
PLENTY = 1_000_000  # units of what never runs out
SCARCE_SKU = "TIF-3"  # of this there is never enough
SCARCE_UNITS = 12
LAST_SKUS = (
    "COF-2",
    "COF-4",
    "THR-IND",
    "THR-MAD",
    "PLT-S",
)  # of these there is one, and one more when it is sold
# Polls of an order that is never answered about: one in so many seconds, and some beside.
POLLS_EVERY_SECONDS = 5
POLLS_BESIDE = 15
WARM_UP_SECONDS = 2.0
ENOUGH_SECONDS = 90  # for what has a name to be reached, after the last harm
LEAVE_SECONDS = 0.5
LINE_CHARS = 400
MAX_PROCESS_BYTES = 500 * 1024 * 1024
# Ends of processes that harm explains: killed, or told to stop. Who looks after web processes
# leaves it to others when too many of them were killed.
EXPLAINED = re.compile(r"SIGKILL|SIGTERM|SIGHUP|exit code 0|^web|had died|is taken")
# What the shop's code says when it meets its own faults, not the world's.
BUG = re.compile(
    r"batch of \S+ raised|answers of \S+ raised|raised over|raised during|sweep raised"
)

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Form:
    """How much of everything."""

    name: str
    buyers: int  # at a time
    times: dict[str, int]  # how often each fault is done
    checkouts: int  # by the stream, at least, unless the time is up before
    most_seconds: float  # for the stream to come so far
    pause_seconds: tuple[float, float]  # between one fault and the next
    haste: float  # by which faults last shorter than they can
    rest_every_faults: int
    sale: tuple[int, int]  # buyers, units
    storm_seconds: float
    lock_seconds: float  # for which somebody else holds a row
    least_visits: int  # of each kind of buyer
    reached: dict[str, int]  # how often what has a name is reached, at least
    boundaries: tuple[str, ...]  # somebody has to die at each
    pages: int = 0  # that wait and look, on a ground of their own
    pages_seconds: float = 20


def each(**often: int) -> dict[str, int]:
    """Every fault once, or as often as its name or its group says."""
    return {name: often.get(name, often.get(group, 1)) for name, group in faults.GROUPS.items()}


SHORT = Form(
    name="short",
    buyers=16,
    times=each(boundaries=len(named.SHORT_BOUNDARIES)),
    checkouts=100,
    most_seconds=600,
    pause_seconds=(0.0, 0.2),
    haste=3.0,
    rest_every_faults=1000,
    sale=(150, 8),
    storm_seconds=4,
    lock_seconds=8,
    least_visits=1,
    reached=named.SHORT_REACHED,
    boundaries=named.SHORT_BOUNDARIES,
)
LONG = Form(
    name="long",
    buyers=64,
    times=each(
        processes=20, all_workers_killed=12, worker_frozen=6, worker_frozen_past_its_claim=6,
        deploys=8, boundaries=110, redis=14, postgres=6, locks=2, gateway=5, retention=5,
        webhooks=5, clocks=6, queues=8, versions=5,
    ),
    checkouts=8_000,  # and 2,200 on the ground of the crowd
    most_seconds=1_440,
    pause_seconds=(0.0, 0.5),
    haste=1.5,
    rest_every_faults=70,
    sale=(2000, 100),
    storm_seconds=20,
    lock_seconds=30,
    least_visits=50,
    reached=named.LONG_REACHED,
    boundaries=crashing.BOUNDARIES,
    pages=5000,
)  # fmt: skip


@dataclass
class Result:
    form: Form
    seed: int
    seconds: float = 0.0
    harms: list[Harm] = field(default_factory=list)
    floods: list[Flood] = field(default_factory=list)
    findings: dict[Finding, None] = field(default_factory=dict)  # in order, each once
    deaths: Counter[str] = field(default_factory=Counter)  # at boundaries
    reached: Counter[str] = field(default_factory=Counter)  # what buyers and staff came to
    tally: Tally = field(default_factory=Tally)
    checkouts: int = 0
    states: dict[str, int] = field(default_factory=dict)
    visits: dict[str, int] = field(default_factory=dict)
    paise: dict[str, int] = field(default_factory=dict)
    largest_bytes: dict[str, int] = field(default_factory=dict)
    server: str = ""

    @property
    def kills(self) -> int:
        return sum(harm.kills for harm in self.harms) + sum(self.deaths.values())

    def find(self, findings: Sequence[Finding]) -> None:
        self.findings |= dict.fromkeys(findings)


def schedule(form: Form, only: Sequence[str], rng: random.Random) -> list[str]:
    """The faults in the order in which they are done; the seed decides."""
    names = [name for name, times in form.times.items() for _ in range(times)]
    if only:
        names = [name for name in names if name in only or faults.GROUPS[name] in only]
    rng.shuffle(names)
    return names


def run(
    form: Form, *, seed: int, only: Sequence[str] = (), data_dir: Path | None = None, tell: Tell
) -> Result:
    result = Result(form, seed)
    began = time.monotonic()
    with Ground(data_dir=data_dir) as ground:
        stream = stream_on(ground, form, result)
        names = schedule(form, only, random.Random(seed))
        Run(ground, stream, form, result, tell, only=only).go(names)
        keep_logs(ground, result, tell)
    if form.pages and not only:
        with Ground(HOLD_SECONDS="900") as ground:
            crowd(ground, stream_on(ground, form, result), form, result, tell)
            keep_logs(ground, result, tell)
    result.seconds = time.monotonic() - began
    return result


def keep_logs(ground: Ground, result: Result, tell: Tell) -> None:
    """Of a run that found something: what it did cannot be done again to the instruction."""
    if result.findings:
        tell(f"     the logs of the processes: {ground.keep_logs()}")


def stream_on(ground: Ground, form: Form, result: Result) -> Stream:
    """The shop with its shelves full, and a stream that does not flow yet."""
    for variant_id, on_hand in ground.rows("SELECT variant_id, on_hand FROM shop_stocklevel"):
        ground.restocked[variant_id] = on_hand
    last = [it for it in ground.shelf() if it["sku"] in LAST_SKUS]
    ground.leave_one([it["id"] for it in last])
    shelf = [it for it in ground.shelf() if it["sku"] not in {SALE_SKU, *LAST_SKUS}]
    ground.stock(PLENTY, variant_ids=[it["id"] for it in shelf if it["sku"] != SCARCE_SKU])
    client = Client(ground.stack.base_url, result.tally, connections=form.buyers + flood.AT_A_TIME)
    return Stream(
        client,
        ground.stack.standin_url,
        shelf,
        seed=result.seed,
        buyers_at_a_time=form.buyers,
        plans=PLANS,
        last=last,
        of_the_last=OF_THE_LAST_UNIT,
    )


class Run:
    """The part of a run in which harm is done."""

    def __init__(
        self,
        ground: Ground,
        stream: Stream,
        form: Form,
        result: Result,
        tell: Tell,
        *,
        only: Sequence[str] = (),
    ) -> None:
        self.only = only
        self.ground = ground
        self.stream = stream
        self.form = form
        self.result = result
        self.tell = tell
        self.rng = random.Random(f"{result.seed}:harm")
        self.watch = Watch(ground)
        self.backroom = Backroom(ground, stream, random.Random(f"{result.seed}:staff"))
        self.began = time.monotonic()

    def go(self, names: Sequence[str]) -> None:
        self.watch.start()
        self.backroom.start()
        try:
            self._flow()
            for n, name in enumerate(names, start=1):
                self._harm(n, name, len(names))
                time.sleep(self.rng.uniform(*self.form.pause_seconds))
                if n % self.form.rest_every_faults == 0:
                    self._rest()
                    self._flow()
            self._wait_well()
            self._floods()
            self._enough()
            self._rest()
        finally:
            self.stream.stop()
            self.backroom.stop()
            self.watch.stop()
            self._sum_up()

    def _flow(self) -> None:
        [scarce] = [it["id"] for it in self.stream.shelf if it["sku"] == SCARCE_SKU]
        self.ground.stock(SCARCE_UNITS, variant_ids=[scarce])
        self.stream.start()
        time.sleep(WARM_UP_SECONDS)

    def _harm(self, n: int, name: str, count: int) -> None:
        harm = Harm(name)
        scene = Scene(
            self.ground,
            self.stream,
            self.rng,
            boundaries=self.form.boundaries,
            haste=self.form.haste,
            lock_seconds=self.form.lock_seconds,
        )
        self.watch.before(harm)
        try:
            harm.detail = faults.FAULTS[name](scene)
        except Exception as error:  # noqa: BLE001 - the run goes on, and is red
            self.result.find([Finding("harness", f"{name} could not be done: {error!r}")])
        harm.kills = scene.kills
        self.watch.after(harm)
        self.result.harms.append(harm)
        self.tell(f"{n:4}/{count} {name}: {harm.detail} ({harm.in_flight} in flight)")

    def _wait_well(self) -> None:
        """Let every harm's traces go while buyers still come: only they show that it goes on."""
        deadline = time.monotonic() + WELL_SECONDS
        while time.monotonic() < deadline:
            if all(harm.well_after_seconds is not None for harm in self.result.harms):
                return
            time.sleep(LEAVE_SECONDS)

    def _rest(self) -> None:
        self.stream.stop()
        self._withdraw_orders()
        self._count_polls()
        began = time.monotonic()
        left = checks.wait_for_rest(self.ground)
        rested = time.monotonic() - began
        found = left + checks.check(
            self.ground, self.stream.client, self.stream.journal, rng=self.rng
        )
        self.result.find(found)
        self.tell(
            f"     at rest after {rested:.1f} s: {len(self.stream.journal.checkouts)} checkouts,"
            f" {len(found)} findings"
        )
        for finding in found[:20]:
            self.tell(f"     ! {finding.side}: {finding.sentence} {finding.checkout_id}")

    def _withdraw_orders(self) -> None:
        """Deaths that nobody has come by: rest is for looking."""
        for order in self.ground.orders.glob("*:*"):
            with suppress(FileNotFoundError):
                order.unlink()

    def _count_polls(self) -> None:
        """The gateway answers about every order from now on. How often were those polled?"""
        for order_id, (polls, seconds) in self.ground.end_all_trouble().items():
            if polls > POLLS_BESIDE + seconds / POLLS_EVERY_SECONDS:
                sentence = f"{order_id} was polled {polls} times in {seconds:.0f} s, unanswered"
                self.result.find([Finding("gateway", sentence)])

    def _floods(self) -> None:
        buyers, units = self.form.sale
        floods = [flood.webhook_storm(self.ground, self.stream, seconds=self.form.storm_seconds)]
        if not self.form.pages:  # else on a ground of their own
            sale = {"buyers": buyers, "units": units, "seed": self.result.seed}
            floods.append(flood.flash_sale(self.ground, self.stream, **sale))
        for it in floods:
            told(it, self.result, self.tell)

    def _enough(self) -> None:
        """Let buyers go on until there are enough of them, and all that has a name was reached."""
        journal = self.stream.journal
        over = max(self.began + self.form.most_seconds, time.monotonic() + ENOUGH_SECONDS)
        while time.monotonic() < over and len(journal.failures) <= ENOUGH_FAILURES:
            is_enough = len(journal.checkouts) >= self.form.checkouts
            if is_enough and (self.only or not self._missing()):
                return
            time.sleep(LEAVE_SECONDS)

    def _missing(self) -> list[str]:
        """What was not reached often enough, of all that has a name and was asked for."""
        journal, form = self.stream.journal, self.form
        done = Counter(harm.fault for harm in self.result.harms)
        return [
            *named.missing("buyer", {plan.__name__: form.least_visits for plan in PLANS},
                           journal.visits),
            *named.missing("", form.reached, journal.reached),
            *named.missing("fault", form.times, done),
            *named.missing("death at", dict.fromkeys(form.boundaries, 1), self.ground.deaths()),
        ]  # fmt: skip

    def _sum_up(self) -> None:
        result, ground, journal = self.result, self.ground, self.stream.journal
        result.deaths = ground.deaths()
        result.reached = journal.reached
        if not self.only:
            result.find([Finding("harness", sentence) for sentence in self._missing()])
        result.find([Finding("database", text, it) for it, text in self.backroom.seen.items()])
        result.checkouts = len(journal.checkouts)
        result.visits = dict(journal.visits)
        result.states = dict(
            ground.rows("SELECT state, count(*) FROM shop_checkoutjob GROUP BY 1 ORDER BY 2 DESC")
        )
        result.paise = ground.standin("GET", "ledger")["totals"]
        note_processes(ground, result)
        [(result.server,)] = ground.rows("SHOW server_version")


def note_processes(ground: Ground, result: Result) -> None:
    for name, size in ground.largest_bytes.items():
        result.largest_bytes[name] = max(result.largest_bytes.get(name, 0), size)
        if size > MAX_PROCESS_BYTES:
            result.find([Finding("processes", f"a process of {name} grew to {size} bytes")])
    unexplained = [sentence for sentence in ground.said if not EXPLAINED.search(sentence)]
    result.find([Finding("processes", sentence) for sentence in unexplained])
    for log in ground.data_dir.glob("log/*.log"):
        bugs = [line for line in log.read_text(errors="replace").splitlines() if BUG.search(line)]
        result.find([Finding("processes", f"{log.stem}: {line[:LINE_CHARS]}") for line in bugs[:5]])


def crowd(ground: Ground, stream: Stream, form: Form, result: Result, tell: Tell) -> None:
    """The sale and the waiting buyers, with holds as long as a shop has them."""
    buyers, units = form.sale
    sale = flood.flash_sale(ground, stream, buyers=buyers, units=units, seed=result.seed)
    told(sale, result, tell)
    pages = flood.waiting_buyers(ground, stream, buyers=form.pages, seconds=form.pages_seconds)
    told(pages, result, tell)
    result.find([*checks.check_rows(ground), *checks.check_money(ground)])
    complaints = (*result.tally.complaints, *stream.journal.failures)
    result.find([Finding("buyers", complaint) for complaint in complaints])
    result.checkouts += len(stream.journal.checkouts)
    note_processes(ground, result)


def told(it: Flood, result: Result, tell: Tell) -> None:
    result.floods.append(it)
    result.find(it.findings)
    tell(f"     {it.name}: {it.what}: {it.numbers}")
