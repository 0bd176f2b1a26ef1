"""
The ground on which harm is done: the whole shop as real processes, two of everything.

Of each pair one is started as the Procfile says; the other runs the same code and can be told to
die at a boundary with a name (see `dying`). Whatever dies is started again, as a service manager
would do it. What is done to processes happens in the thread that made this.
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
# ends before its claim, a claim before the hold. The look-up lag outlasts every pause done here.
CLAIM_SECONDS = 6
CHANGED = changed(CLAIM_SECONDS=CLAIM_SECONDS, RECEIPT_LAG_SECONDS=8, HOLD_SECONDS=15, **UNHURRIED)
QUICK = {
    "GATEWAY_TIMEOUT_SECONDS": "2",
    "DEBUG": "0",
    "RAZORPAY_CAPTURE": "manual",  # so that captures are ours to lose
    "LOG_LEVEL": "WARNING",
    "STANDIN_RECEIPT_LAG_SECONDS": "0",
    "STANDIN_LIST_LAG_SECONDS": "0",
    "STANDIN_TIME_SCALE": "4",  # webhooks are repeated after 1.5, 5, 10, 20 s
}
PAIRS = ("web", "worker", "gateway", "sweeper")  # "web" twice on one port: the kernel shares it out
TWIN = "-twin"
TICK_SECONDS = 0.05
ANSWER_SECONDS = 60
SAMPLE_SECONDS = 2.0
MAX_POLLS = 100_000  # of one order; nobody comes so far


# Deliveries by the back room, in the transaction that makes them; how many writes are refused.
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


class Ground:
    """`with Ground() as ground:` has everything running and seeded, and ends it all afterwards."""

    def __init__(self, *, data_dir: Path | None = None, **settings: str) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="prove-")
        self.data_dir = data_dir or Path(self._directory.name)
        self.orders = (
            self.data_dir / "deaths-ordered"
        )  # where a death is ordered by the boundary's name
        self.ordered: Counter[str] = Counter()  # deaths, by boundary
        self.said: list[str] = []  # by the supervisors: who ended, how
        self.restocked: Counter[int] = Counter()
        self.never_answered: dict[str, float] = {}  # Razorpay orders, and since when (monotonic)
        self.largest_bytes: Counter[str] = Counter()  # resident, of each kind of process
        environment = UNSET | QUICK | CHANGED | GUESTS_ONLY | settings
        environment[crashing.DIRECTORY] = str(self.orders)
        self.stack = Stack(
            self.data_dir,
            environment,
            processes=(*PAIRS, "standin"),
            announce=self.said.append,
        )
        self._twins: dict[str, Process] = {}
        self._over = threading.Event()
        self._keeper: threading.Thread | None = None
        self._http = requests.Session()
        self._http.trust_env = False

    def __enter__(self) -> Self:
        self.orders.mkdir(parents=True)
        self.stack.start()
        try:
            self.stack.wait_ready(ANSWER_SECONDS)
            # A second payment stays with us, so that it is for us to give it back.
            self.standin("PATCH", "settings", {"second_payment": "keep"})
            self._make_tables()
            self._start_twins()
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
        for duplicate in self._twins.values():
            duplicate.ask_to_stop()
        for duplicate in self._twins.values():
            duplicate.finish(deadline=time.monotonic() + STOP_SECONDS)
        self.stack.stop()
        self._directory.cleanup()

    def keep_logs(self) -> Path:
        """Where the logs of all processes are, also when the ground is no more."""
        logs = self.data_dir / "log"
        if self.data_dir == Path(self._directory.name):
            logs = Path(shutil.copytree(logs, Path(tempfile.mkdtemp(prefix="prove-logs-")) / "log"))
        return logs

    def _make_tables(self) -> None:
        """Tables and triggers of our own, before anybody works: later they would need locks."""
        with self.connect() as database:
            database.execute(OUR_TABLES)
            for table in REFUSING:
                database.execute(REFUSAL.format(table))

    def _start_twins(self) -> None:
        commands = procfile.commands()
        here = "tests.prove.crashing"
        mortal = {
            "web": commands["web"].replace("shop.wsgi:application", f"{here}.web:application"),
            "worker": commands["worker"].replace("-A tasks", f"-A {here}.worker"),
            "gateway": commands["gateway"].replace("-A tasks", f"-A {here}.worker"),
            "sweeper": commands["sweeper"].replace("workers.sweeper", f"{here}.sweeper"),
        }
        for name, command in mortal.items():
            assert command != commands[name], f"the Procfile starts {name} in another way now"
            self._twins[name] = Process(
                name + TWIN,
                command.replace("@%h", f"{TWIN}@%h"),
                environment=self.stack.environment | {"WEB_WORKERS": "1"},
                root=REPOSITORY,
                log=self.stack.log_file(name + TWIN),
            )
            self._twins[name].start()
        self._keeper = threading.Thread(target=self._keep, name="keeper")
        self._keeper.start()
        until(self._twin_of_web_serves, seconds=ANSWER_SECONDS)  # it has no address of its own

    def _twin_of_web_serves(self) -> bool:
        return "Started worker-1" in self._twins["web"].last_lines()

    def _keep(self) -> None:
        sampled_at = 0.0
        while not self._over.wait(TICK_SECONDS):
            for duplicate in self._twins.values():
                if sentence := duplicate.revive():
                    self.said.append(sentence)
            if time.monotonic() - sampled_at > SAMPLE_SECONDS:
                sampled_at = time.monotonic()
                self._sample()

    def _sample(self) -> None:
        for name in PAIRS:
            for pid in (*self.stack.pids(name), *self.twin_pids(name)):
                self.largest_bytes[name] = max(self.largest_bytes[name], resident_bytes(pid))

    # --- processes --------------------------------------------------------------------------------

    def twin_pids(self, name: str) -> list[int]:
        return self._twins[name].pids

    def kill(self, pids: list[int]) -> int:
        """kill -9; the supervisors find out. How many there were."""
        process_tree.signal_each(pids, signal.SIGKILL)
        return len(pids)

    def deaths(self) -> Counter[str]:
        """At boundaries, by name."""
        with suppress(FileNotFoundError):
            return Counter((self.orders / crashing.DEATHS).read_text().split())
        return Counter()

    def first_pid(self, name: str) -> int | None:
        """The process that the others of `name` are children of; None while there is none."""
        return min(self.stack.pids(name), default=None)

    def send(self, name: str, number: signal.Signals) -> None:
        """To the first process of `name` alone, as a service manager does."""
        if pid := self.first_pid(name):
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def wait_gone(self, pid: int | None, *, seconds: float = 30) -> None:
        deadline = time.monotonic() + seconds
        while any(it.pid == pid for it in process_tree.running()) and time.monotonic() < deadline:
            time.sleep(TICK_SECONDS)

    def answers(self) -> bool:
        """Whether the shop says that it can serve buyers."""
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
        """A statement of our own; tried again while the database is away, so it may run twice."""
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

    # --- trouble at the gateway -------------------------------------------------------------------

    def trouble(self, *faults: Json) -> None:
        """
        These faults of the stand-in are in force now, beside those about one order, which stay.
        None: calls that hang go on.
        """
        lasting = self._lasting()
        if not faults:
            self.standin("DELETE", "faults")
        self.standin("PUT", "faults", [*lasting, *faults])

    def never_answer(self, gateway_order_id: str) -> None:
        """Every poll of this order is answered with 500, until `end_all_trouble`."""
        fault = {"kind": "server_error", "route": "orders.payments", "id": gateway_order_id}
        self.standin("PUT", "faults", [*self._lasting(), fault | {"count": MAX_POLLS}])
        self.never_answered[gateway_order_id] = time.monotonic()

    def end_all_trouble(self) -> dict[str, tuple[int, float]]:
        """How often each order that was never answered about was polled, in how many seconds."""
        lasting, now = self._lasting(), time.monotonic()
        self.standin("DELETE", "faults")
        began = self.never_answered
        self.never_answered = {}
        return {
            it["id"]: (MAX_POLLS - it["count"], now - began[it["id"]])
            for it in lasting
            if it["id"] in began
        }

    def _lasting(self) -> list[Json]:
        return [fault for fault in self.standin("GET", "faults")["active"] if fault["id"]]

    # --- the shelf --------------------------------------------------------------------------------

    def stock(self, units: int, *, variant_ids: list[int] | None = None) -> None:
        """Put more units on the shelf, as a delivery does. They are counted as seeded."""
        found = self.rows(
            "UPDATE shop_stocklevel SET on_hand = on_hand + %s"
            " WHERE %s::bigint[] IS NULL OR variant_id = ANY(%s) RETURNING variant_id",
            units, variant_ids, variant_ids,
        )  # fmt: skip
        for (variant_id,) in found:
            self.restocked[variant_id] += units

    def brought(self) -> Counter[int]:
        """Units of each variant that were ever on the shelf."""
        found = self.rows("SELECT variant_id, sum(units) FROM prove_delivery GROUP BY 1")
        return self.restocked + Counter({variant_id: int(units) for variant_id, units in found})

    def leave_one(self, variant_ids: list[int]) -> None:
        """Take all but one unit of these off the shelf. Before buyers come."""
        self.rows("UPDATE shop_stocklevel SET on_hand = 1 WHERE variant_id = ANY(%s)", variant_ids)
        for variant_id in variant_ids:
            self.restocked[variant_id] = 1

    def shelf(self) -> list[Json]:
        """All variants, as a buyer names them."""
        found = self.rows("SELECT id, product_id, sku, price_paise FROM shop_variant ORDER BY id")
        names = ("id", "product_id", "sku", "price_paise")
        return [dict(zip(names, row, strict=True)) for row in found]


def resident_bytes(pid: int) -> int:
    with suppress(OSError, IndexError, ValueError):
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    return 0
