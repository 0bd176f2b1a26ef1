"""A run: buyers arrive, faults happen, work ends, and the three sides are compared."""

from __future__ import annotations

import random
import re
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.prove import checks, crashing, faults, load, required
from tests.prove.checks import Finding
from tests.prove.client import Client, Tally
from tests.prove.environment import Environment
from tests.prove.faults import FaultContext
from tests.prove.load import SALE_SKU, LoadResult
from tests.prove.plans import FOR_THE_LAST_UNIT, PLANS
from tests.prove.recovery import FaultRecord, RecoveryWatch
from tests.prove.staff import Staff
from tests.prove.stream import MAX_FAILURES, Stream

RECOVERY_SECONDS = 120  # for the shop to recover from the last fault while buyers still come
PLENTY = 1_000_000  # units of variants that never run out
SCARCE_SKU = "TIF-3"  # never enough units
SCARCE_UNITS = 12
LAST_SKUS = (
    "COF-2",
    "COF-4",
    "THR-IND",
    "THR-MAD",
    "PLT-S",
)  # one unit, and one more when it is sold
# Of an order whose polls all fail: one poll in so many seconds, and some more.
POLLS_EVERY_SECONDS = 5
MORE_POLLS = 15
WARM_UP_SECONDS = 2.0
MAX_CONTINUE_SECONDS = 90  # to reach `required`, after the last fault
LOOK_SECONDS = 0.5
LINE_CHARS = 400
MAX_PROCESS_BYTES = 500 * 1024 * 1024
# Ends of processes that a fault explains: killed, or told to stop. The parent of the web processes
# exits when too many of them were killed.
EXPLAINED = re.compile(r"SIGKILL|SIGTERM|SIGHUP|exit code 0|^web|had died|is taken")
# Log lines of the shop about its own bugs, not about faults from outside.
BUG = re.compile(
    r"batch of \S+ raised|answers of \S+ raised|raised over|raised during|sweep raised"
)

Log = Callable[[str], None]


@dataclass(frozen=True)
class Form:
    """The size of a run."""

    name: str
    buyers: int  # at a time
    times: dict[str, int]  # how often each fault is done
    checkouts: int  # at least, unless `max_seconds` end before
    max_seconds: float  # to reach `checkouts`
    pause_seconds: tuple[float, float]  # between one fault and the next
    speed_up: float  # divides the duration of faults
    check_every_faults: int
    sale: tuple[int, int]  # buyers, units
    burst_seconds: float
    lock_seconds: float  # for which another session locks a row
    min_visits: int  # of each plan
    reached: dict[str, int]  # how often each situation is reached, at least
    boundaries: tuple[str, ...]  # a process has to crash at each
    pages: int = 0  # that poll, in an environment of their own
    pages_seconds: float = 20


def each(**often: int) -> dict[str, int]:
    """Each fault once, or as often as `often` says for its name or its group."""
    return {name: often.get(name, often.get(group, 1)) for name, group in faults.GROUPS.items()}


SHORT = Form(
    name="short",
    buyers=16,
    times=each(boundaries=len(required.SHORT_BOUNDARIES)),
    checkouts=100,
    max_seconds=600,
    pause_seconds=(0.0, 0.2),
    speed_up=3.0,
    check_every_faults=1000,
    sale=(150, 8),
    burst_seconds=4,
    lock_seconds=8,
    min_visits=1,
    reached=required.SHORT_REACHED,
    boundaries=required.SHORT_BOUNDARIES,
)
LONG = Form(
    name="long",
    buyers=64,
    times=each(
        processes=20, all_workers_killed=12, worker_frozen=6, worker_frozen_past_its_claim=6,
        deploys=8, boundaries=110, redis=14, postgres=6, locks=2, gateway=5, retention=5,
        webhooks=5, clocks=6, queues=8, versions=5,
    ),
    checkouts=8_000,  # and 2,200 in the environment of `run_load_alone`
    max_seconds=1_440,
    pause_seconds=(0.0, 0.5),
    speed_up=1.5,
    check_every_faults=70,
    sale=(2000, 100),
    burst_seconds=20,
    lock_seconds=30,
    min_visits=50,
    reached=required.LONG_REACHED,
    boundaries=crashing.BOUNDARIES,
    pages=5000,
)  # fmt: skip


@dataclass
class Result:
    form: Form
    seed: int
    seconds: float = 0.0
    records: list[FaultRecord] = field(default_factory=list)
    loads: list[LoadResult] = field(default_factory=list)
    findings: dict[Finding, None] = field(default_factory=dict)  # an ordered set
    crashes: Counter[str] = field(default_factory=Counter)  # at boundaries
    reached: Counter[str] = field(default_factory=Counter)  # situations
    tally: Tally = field(default_factory=Tally)
    checkouts: int = 0
    states: dict[str, int] = field(default_factory=dict)
    visits: dict[str, int] = field(default_factory=dict)
    paise: dict[str, int] = field(default_factory=dict)
    largest_bytes: dict[str, int] = field(default_factory=dict)
    server: str = ""

    @property
    def kills(self) -> int:
        return sum(record.kills for record in self.records) + sum(self.crashes.values())

    def find(self, findings: Sequence[Finding]) -> None:
        self.findings |= dict.fromkeys(findings)


def schedule(form: Form, only: Sequence[str], rng: random.Random) -> list[str]:
    """The names of the faults in the order in which they happen; the seed decides."""
    names = [name for name, times in form.times.items() for _ in range(times)]
    if only:
        names = [name for name in names if name in only or faults.GROUPS[name] in only]
    rng.shuffle(names)
    return names


def run(
    form: Form, *, seed: int, only: Sequence[str] = (), data_dir: Path | None = None, log: Log
) -> Result:
    result = Result(form, seed)
    began = time.monotonic()
    with Environment(data_dir=data_dir) as env:
        stream = stream_on(env, form, result)
        names = schedule(form, only, random.Random(seed))
        Run(env, stream, form, result, log, only=only).go(names)
        keep_logs(env, result, log)
    if form.pages and not only:
        with Environment(HOLD_SECONDS="900") as env:
            run_load_alone(env, stream_on(env, form, result), form, result, log)
            keep_logs(env, result, log)
    result.seconds = time.monotonic() - began
    return result


def keep_logs(env: Environment, result: Result, log: Log) -> None:
    """Keep the logs of a run with findings: no seed repeats it to the instruction."""
    if result.findings:
        log(f"     the logs of the processes: {env.keep_logs()}")


def stream_on(env: Environment, form: Form, result: Result) -> Stream:
    """Fill the stock and make a stream that has not started."""
    for variant_id, on_hand in env.rows("SELECT variant_id, on_hand FROM shop_stocklevel"):
        env.delivered[variant_id] = on_hand
    all_variants = env.variants()
    last = [variant for variant in all_variants if variant["sku"] in LAST_SKUS]
    env.keep_one([variant["id"] for variant in last])
    variants = [one for one in all_variants if one["sku"] not in {SALE_SKU, *LAST_SKUS}]
    env.stock(PLENTY, variant_ids=[one["id"] for one in variants if one["sku"] != SCARCE_SKU])
    client = Client(env.stack.base_url, result.tally, connections=form.buyers + load.AT_A_TIME)
    return Stream(
        client,
        env.stack.standin_url,
        variants,
        seed=result.seed,
        buyers_at_a_time=form.buyers,
        plans=PLANS,
        last=last,
        for_the_last_unit=FOR_THE_LAST_UNIT,
    )


class Run:
    """The part of a run with faults."""

    def __init__(
        self,
        env: Environment,
        stream: Stream,
        form: Form,
        result: Result,
        log: Log,
        *,
        only: Sequence[str] = (),
    ) -> None:
        self.only = only
        self.env = env
        self.stream = stream
        self.form = form
        self.result = result
        self.log = log
        self.rng = random.Random(f"{result.seed}:record")
        self.watch = RecoveryWatch(env)
        self.staff = Staff(env, stream, random.Random(f"{result.seed}:staff"))
        self.began = time.monotonic()

    def go(self, names: Sequence[str]) -> None:
        self.watch.start()
        self.staff.start()
        try:
            self._start_buyers()
            for n, name in enumerate(names, start=1):
                self._do_fault(n, name, len(names))
                time.sleep(self.rng.uniform(*self.form.pause_seconds))
                if n % self.form.check_every_faults == 0:
                    self._stop_and_check()
                    self._start_buyers()
            self._wait_until_recovered()
            self._put_load()
            self._continue_until_reached()
            self._stop_and_check()
        finally:
            self.stream.stop()
            self.staff.stop()
            self.watch.stop()
            self._summarise()

    def _start_buyers(self) -> None:
        variants = self.stream.variants
        [scarce] = [variant["id"] for variant in variants if variant["sku"] == SCARCE_SKU]
        self.env.stock(SCARCE_UNITS, variant_ids=[scarce])
        self.stream.start()
        time.sleep(WARM_UP_SECONDS)

    def _do_fault(self, n: int, name: str, count: int) -> None:
        record = FaultRecord(name)
        context = FaultContext(
            self.env,
            self.stream,
            self.rng,
            boundaries=self.form.boundaries,
            speed_up=self.form.speed_up,
            lock_seconds=self.form.lock_seconds,
        )
        self.watch.before(record)
        try:
            record.detail = faults.FAULTS[name](context)
        except Exception as error:  # noqa: BLE001 - the run continues, and is red
            self.result.find([Finding("harness", f"{name} failed: {error!r}")])
        record.kills = context.kills
        self.watch.after(record)
        self.result.records.append(record)
        self.log(f"{n:4}/{count} {name}: {record.detail} ({record.in_flight} in flight)")

    def _wait_until_recovered(self) -> None:
        """Wait for recovery from each fault, while buyers arrive and show it."""
        deadline = time.monotonic() + RECOVERY_SECONDS
        while time.monotonic() < deadline:
            if all(record.recovered_after_seconds is not None for record in self.result.records):
                return
            time.sleep(LOOK_SECONDS)

    def _stop_and_check(self) -> None:
        self.stream.stop()
        self._withdraw_orders()
        self._count_polls()
        began = time.monotonic()
        left = checks.wait_until_idle(self.env)
        idle_after = time.monotonic() - began
        found = left + checks.check(self.env, self.stream.client, self.stream.journal, rng=self.rng)
        self.result.find(found)
        self.log(
            f"     idle after {idle_after:.1f} s: {len(self.stream.journal.checkouts)} checkouts,"
            f" {len(found)} findings"
        )
        for finding in found[:20]:
            self.log(f"     ! {finding.side}: {finding.sentence} {finding.checkout_id}")

    def _withdraw_orders(self) -> None:
        """Withdraw requests for crashes that did not happen, before the checks."""
        for order in self.env.crash_requests.glob("*:*"):
            with suppress(FileNotFoundError):
                order.unlink()

    def _count_polls(self) -> None:
        """End failing polls, and check that their orders were polled with backoff."""
        for order_id, (polls, seconds) in self.env.end_all_faults().items():
            if polls > MORE_POLLS + seconds / POLLS_EVERY_SECONDS:
                sentence = f"{order_id} was polled {polls} times in {seconds:.0f} s, unanswered"
                self.result.find([Finding("gateway", sentence)])

    def _put_load(self) -> None:
        buyers, units = self.form.sale
        loads = [load.webhook_burst(self.env, self.stream, seconds=self.form.burst_seconds)]
        if not self.form.pages:  # else in an environment of their own
            sale = {"buyers": buyers, "units": units, "seed": self.result.seed}
            loads.append(load.flash_sale(self.env, self.stream, **sale))
        for result in loads:
            add_load(result, self.result, self.log)

    def _continue_until_reached(self) -> None:
        """Let buyers continue until `checkouts` and every required situation are reached."""
        journal = self.stream.journal
        over = max(self.began + self.form.max_seconds, time.monotonic() + MAX_CONTINUE_SECONDS)
        while time.monotonic() < over and len(journal.failures) <= MAX_FAILURES:
            is_enough = len(journal.checkouts) >= self.form.checkouts
            if is_enough and (self.only or not self._missing()):
                return
            time.sleep(LOOK_SECONDS)

    def _missing(self) -> list[str]:
        """What was not reached often enough: plans, situations, faults, boundaries."""
        journal, form = self.stream.journal, self.form
        done = Counter(record.fault for record in self.result.records)
        return [
            *required.missing("buyer", {plan.__name__: form.min_visits for plan in PLANS},
                           journal.visits),
            *required.missing("", form.reached, journal.reached),
            *required.missing("fault", form.times, done),
            *required.missing("crash at", dict.fromkeys(form.boundaries, 1), self.env.crashes()),
        ]  # fmt: skip

    def _summarise(self) -> None:
        result, env, journal = self.result, self.env, self.stream.journal
        result.crashes = env.crashes()
        result.reached = journal.reached
        if not self.only:
            result.find([Finding("harness", sentence) for sentence in self._missing()])
        result.find([Finding("database", text, job_id) for job_id, text in self.staff.seen.items()])
        result.checkouts = len(journal.checkouts)
        result.visits = dict(journal.visits)
        result.states = dict(
            env.rows("SELECT state, count(*) FROM shop_checkoutjob GROUP BY 1 ORDER BY 2 DESC")
        )
        result.paise = env.standin("GET", "ledger")["totals"]
        note_processes(env, result)
        [(result.server,)] = env.rows("SHOW server_version")


def note_processes(env: Environment, result: Result) -> None:
    for name, size in env.largest_bytes.items():
        result.largest_bytes[name] = max(result.largest_bytes.get(name, 0), size)
        if size > MAX_PROCESS_BYTES:
            result.find([Finding("processes", f"a process of {name} grew to {size} bytes")])
    unexplained = [sentence for sentence in env.said if not EXPLAINED.search(sentence)]
    result.find([Finding("processes", sentence) for sentence in unexplained])
    for log in env.data_dir.glob("log/*.log"):
        bugs = [line for line in log.read_text(errors="replace").splitlines() if BUG.search(line)]
        result.find([Finding("processes", f"{log.stem}: {line[:LINE_CHARS]}") for line in bugs[:5]])


def run_load_alone(env: Environment, stream: Stream, form: Form, result: Result, log: Log) -> None:
    """The sale and the polling pages, without faults, with holds as long as in a shop."""
    buyers, units = form.sale
    sale = load.flash_sale(env, stream, buyers=buyers, units=units, seed=result.seed)
    add_load(sale, result, log)
    pages = load.waiting_buyers(env, stream, buyers=form.pages, seconds=form.pages_seconds)
    add_load(pages, result, log)
    result.find([*checks.check_rows(env), *checks.check_money(env)])
    complaints = (*result.tally.complaints, *stream.journal.failures)
    result.find([Finding("buyers", complaint) for complaint in complaints])
    result.checkouts += len(stream.journal.checkouts)
    note_processes(env, result)


def add_load(measured: LoadResult, result: Result, log: Log) -> None:
    result.loads.append(measured)
    result.find(measured.findings)
    log(f"     {measured.name}: {measured.what}: {measured.numbers}")
