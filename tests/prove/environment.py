"""
The whole shop as real processes, two of each, with the means to disturb them.

One process of each pair starts as the Procfile says. The other runs the same code and crashes at a
named boundary on request (see `crashing`). A process that ends is started again, as by a service
manager. Call methods that signal processes from the thread that created the environment.
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import threading
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import psycopg
import requests
from redis import Redis

from shop.addresses import REPOSITORY
from tests.prove import crashing
from tests.support.buyers import until
from tests.support.process_settings import GUESTS_ONLY, UNHURRIED, UNSET, changed
from workers import procfile
from workers.stack import process_tree
from workers.stack.process import STOP_SECONDS, Process
from workers.stack.stack import Stack

Json = dict[str, Any]

# Short, so that a run sees claims lapse and checkouts expire. In the order of settings.py: a call
# ends before its claim, a claim before the hold. The look-up lag is longer than every pause below.
CLAIM_SECONDS = 6
CHANGED = changed(CLAIM_SECONDS=CLAIM_SECONDS, RECEIPT_LAG_SECONDS=8, HOLD_SECONDS=15, **UNHURRIED)
QUICK = {
    "GATEWAY_TIMEOUT_SECONDS": "2",
    "DEBUG": "0",
    "RAZORPAY_CAPTURE": "manual",  # so that the shop captures
    "LOG_LEVEL": "WARNING",
    "STANDIN_RECEIPT_LAG_SECONDS": "0",
    "STANDIN_LIST_LAG_SECONDS": "0",
    "STANDIN_TIME_SCALE": "4",  # webhooks are repeated after 1.5, 5, 10, 20 s
}
PAIRS = ("web", "worker", "gateway", "sweeper")  # the kernel balances one port between both webs
CRASHING = "-crashing"
TICK_SECONDS = 0.05
ANSWER_SECONDS = 60
SAMPLE_SECONDS = 2.0
MAX_POLLS = 100_000  # of one order; never reached


# Deliveries, recorded in their transaction; and the share of writes that a trigger refuses.
OUR_TABLES = """
    CREATE TABLE prove_delivery (variant_id bigint NOT NULL, units int NOT NULL);
    CREATE TABLE prove_refusal (rate float NOT NULL);
    INSERT INTO prove_refusal VALUES (0);
    CREATE FUNCTION refuse_some() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
    BEGIN
        IF random() < (SELECT rate FROM prove_refusal) THEN
            RAISE EXCEPTION 'could not serialize access' USING ERRCODE = 'serialization_failure';
        END IF;
        RETURN NULL;
    END $$;
"""
REFUSAL = """
    CREATE TRIGGER refuse_some AFTER INSERT OR UPDATE ON {} EXECUTE FUNCTION refuse_some()
"""
REFUSING = (
    "shop_checkoutjob",
    "shop_stocklevel",
    "shop_inboxevent",
    "shop_payment",
    "shop_transition",
)


class Environment:
    """A context manager: inside, everything runs and is seeded."""

    def __init__(self, *, data_dir: Path | None = None, **settings: str) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="prove-")
        self.data_dir = data_dir or Path(self._directory.name)
        self.crash_requests = (
            self.data_dir / "crashes-ordered"
        )  # where a death is ordered by the boundary's name
        self.requested: Counter[str] = Counter()  # crashes, by boundary
        self.said: list[str] = []  # by the supervisors, about processes that ended
        self.delivered: Counter[int] = Counter()
        self.unanswered_since: dict[str, float] = {}  # by Razorpay order, monotonic
        self.largest_bytes: Counter[str] = Counter()  # resident, of each kind of process
        environment = UNSET | QUICK | CHANGED | GUESTS_ONLY | settings
        environment[crashing.DIRECTORY] = str(self.crash_requests)
        self.stack = Stack(
            self.data_dir,
            environment,
            processes=(*PAIRS, "standin"),
            announce=self.said.append,
        )
        self._crashing: dict[str, Process] = {}
        self._over = threading.Event()
        self._keeper: threading.Thread | None = None
        self._http = requests.Session()
        self._http.trust_env = False

    def __enter__(self) -> Self:
        self.crash_requests.mkdir(parents=True)
        self.stack.start()
        try:
            self.stack.wait_ready(ANSWER_SECONDS)
            # Razorpay keeps a second payment, so that the shop must refund it.
            self.standin("PATCH", "settings", {"second_payment": "keep"})
            self._make_tables()
            self._start_crashing_processes()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_exception: object) -> None:
        self.stop()

    def stop(self) -> None:
        self._over.set()
        if self._keeper:
            self._keeper.join()
        for process in self._crashing.values():
            process.ask_to_stop()
        for process in self._crashing.values():
            process.finish(deadline=time.monotonic() + STOP_SECONDS)
        self.stack.stop()
        self._directory.cleanup()

    def keep_logs(self) -> Path:
        """Copy the logs if they are in the temporary directory. Returns their directory."""
        logs = self.data_dir / "log"
        if self.data_dir == Path(self._directory.name):
            logs = Path(shutil.copytree(logs, Path(tempfile.mkdtemp(prefix="prove-logs-")) / "log"))
        return logs

    def _make_tables(self) -> None:
        """Add tables and triggers before processes work: later this would wait for locks."""
        with self.connect() as database:
            database.execute(OUR_TABLES)
            for table in REFUSING:
                database.execute(REFUSAL.format(table))

    def _start_crashing_processes(self) -> None:
        commands = procfile.commands()
        here = "tests.prove.crashing"
        with_boundaries = {
            "web": commands["web"].replace("shop.wsgi:application", f"{here}.web:application"),
            "worker": commands["worker"].replace("-A tasks", f"-A {here}.worker"),
            "gateway": commands["gateway"].replace("-A tasks", f"-A {here}.worker"),
            "sweeper": commands["sweeper"].replace("workers.sweeper", f"{here}.sweeper"),
        }
        for name, command in with_boundaries.items():
            assert command != commands[name], f"the Procfile starts {name} in another way"
            self._crashing[name] = Process(
                name + CRASHING,
                command.replace("@%h", f"{CRASHING}@%h"),
                environment=self.stack.environment | {"WEB_WORKERS": "1"},
                root=REPOSITORY,
                log=self.stack.log_file(name + CRASHING),
            )
            self._crashing[name].start()
        self._keeper = threading.Thread(target=self._keep, name="keeper")
        self._keeper.start()
        until(
            self._crashing_web_serves, seconds=ANSWER_SECONDS
        )  # it has no address of its own to ask

    def _crashing_web_serves(self) -> bool:
        return "Started worker-1" in self._crashing["web"].last_lines()

    def _keep(self) -> None:
        sampled_at = 0.0
        while not self._over.wait(TICK_SECONDS):
            for process in self._crashing.values():
                if sentence := process.revive():
                    self.said.append(sentence)
            if time.monotonic() - sampled_at > SAMPLE_SECONDS:
                sampled_at = time.monotonic()
                self._sample()

    def _sample(self) -> None:
        for name in PAIRS:
            for pid in (*self.stack.pids(name), *self.crashing_pids(name)):
                self.largest_bytes[name] = max(self.largest_bytes[name], resident_bytes(pid))

    # --- processes --------------------------------------------------------------------------------

    def crashing_pids(self, name: str) -> list[int]:
        return self._crashing[name].pids

    def kill(self, pids: list[int]) -> int:
        """kill -9. Returns the number of processes; their supervisors restart them."""
        process_tree.signal_each(pids, signal.SIGKILL)
        return len(pids)

    def crashes(self) -> Counter[str]:
        """The number of crashes at each boundary."""
        with suppress(FileNotFoundError):
            return Counter((self.crash_requests / crashing.CRASHES).read_text().split())
        return Counter()

    def first_pid(self, name: str) -> int | None:
        """The parent of the processes of `name`; None while none runs."""
        return min(self.stack.pids(name), default=None)

    def send(self, name: str, number: signal.Signals) -> None:
        """Signal only the parent process of `name`, as a service manager does."""
        if pid := self.first_pid(name):
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def wait_gone(self, pid: int | None, *, seconds: float = 30) -> None:
        deadline = time.monotonic() + seconds
        while (
            any(process.pid == pid for process in process_tree.running())
            and time.monotonic() < deadline
        ):
            time.sleep(TICK_SECONDS)

    def answers(self) -> bool:
        """Whether the readiness check is 200."""
        try:
            answer = self._http.get(f"{self.stack.base_url}/health/ready", timeout=5)
        except requests.RequestException:
            return False
        return answer.status_code == 200

    # --- services ---------------------------------------------------------------------------------

    @property
    def postgres(self) -> Any:
        return self.stack.services.postgres

    @property
    def redis_server(self) -> Any:
        return self.stack.services.redis

    def connect(self, **options: Any) -> psycopg.Connection:
        return psycopg.connect(self.stack.services.superuser_url, connect_timeout=5, **options)

    def rows(self, query: str, *values: Any, seconds: float = ANSWER_SECONDS) -> list[Any]:
        """Run a statement. Repeated while the database is unavailable, so it may run twice."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                with self.connect(autocommit=True) as database:
                    done = database.execute(query, values or None)
                    return done.fetchall() if done.description else []
            except psycopg.OperationalError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(TICK_SECONDS)

    def redis(self) -> Redis:
        return Redis.from_url(self.stack.services.redis_url, socket_timeout=5)

    def standin(self, verb: str, path: str, body: Any = None) -> Any:
        """The stand-in's control API."""
        url = f"{self.stack.standin_url}/_standin/{path}"
        answer = self._http.request(verb, url, json=body, timeout=ANSWER_SECONDS)
        answer.raise_for_status()
        return answer.json()

    # --- faults of the gateway --------------------------------------------------------------------

    def gateway_faults(self, *faults: Json) -> None:
        """
        Replace the stand-in's faults, except those about one order. Without arguments, calls that
        hang continue.
        """
        about_one_order = self._faults_about_one_order()
        if not faults:
            self.standin("DELETE", "faults")
        self.standin("PUT", "faults", [*about_one_order, *faults])

    def fail_polls_of(self, gateway_order_id: str) -> None:
        """Answer every poll of this order with 500, until `end_all_faults`."""
        fault = {"kind": "server_error", "route": "orders.payments", "id": gateway_order_id}
        self.standin(
            "PUT", "faults", [*self._faults_about_one_order(), fault | {"count": MAX_POLLS}]
        )
        self.unanswered_since[gateway_order_id] = time.monotonic()

    def end_all_faults(self) -> dict[str, tuple[int, float]]:
        """End all faults. Returns (polls, seconds) of each order of `fail_polls_of`."""
        about_one_order, now = self._faults_about_one_order(), time.monotonic()
        self.standin("DELETE", "faults")
        began = self.unanswered_since
        self.unanswered_since = {}
        return {
            fault["id"]: (MAX_POLLS - fault["count"], now - began[fault["id"]])
            for fault in about_one_order
            if fault["id"] in began
        }

    def _faults_about_one_order(self) -> list[Json]:
        return [fault for fault in self.standin("GET", "faults")["active"] if fault["id"]]

    # --- stock ------------------------------------------------------------------------------------

    def stock(self, units: int, *, variant_ids: list[int] | None = None) -> None:
        """Add units, as a delivery does. They count as seeded."""
        found = self.rows(
            "UPDATE shop_stocklevel SET on_hand = on_hand + %s"
            " WHERE %s::bigint[] IS NULL OR variant_id = ANY(%s) RETURNING variant_id",
            units, variant_ids, variant_ids,
        )  # fmt: skip
        for (variant_id,) in found:
            self.delivered[variant_id] += units

    def all_delivered(self) -> Counter[int]:
        """All units of each variant that were ever on hand."""
        found = self.rows("SELECT variant_id, sum(units) FROM prove_delivery GROUP BY 1")
        return self.delivered + Counter({variant_id: int(units) for variant_id, units in found})

    def keep_one(self, variant_ids: list[int]) -> None:
        """Leave one unit of each of these variants. Call before buyers arrive."""
        self.rows("UPDATE shop_stocklevel SET on_hand = 1 WHERE variant_id = ANY(%s)", variant_ids)
        for variant_id in variant_ids:
            self.delivered[variant_id] = 1

    def variants(self) -> list[Json]:
        """All variants, with the ids that a buyer sends."""
        found = self.rows("SELECT id, product_id, sku, price_paise FROM shop_variant ORDER BY id")
        names = ("id", "product_id", "sku", "price_paise")
        return [dict(zip(names, row, strict=True)) for row in found]


def resident_bytes(pid: int) -> int:
    with suppress(OSError, IndexError, ValueError):
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    return 0
