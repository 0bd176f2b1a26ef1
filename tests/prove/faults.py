"""
The harm that is done, by name. Each function does it once, undoes its cause, and says what it did.

What is imitated is said where it is: a slow disk and a wrong clock are not the machine's own.
"""

from __future__ import annotations

import json
import random
import shutil
import signal
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import psycopg

from tests.prove import crashing
from tests.prove.environment import CLAIM_SECONDS, Ground
from tests.prove.stream import ADDRESS, Buyer, Stream, user_id_in
from workers.stack import process_tree


@dataclass
class Scene:
    """Where harm is done, and the dice."""

    ground: Ground
    stream: Stream
    rng: random.Random
    boundaries: Sequence[str] = crashing.BOUNDARIES  # at which processes die
    haste: float = 1.0  # by which everything lasts shorter
    lock_seconds: float = 30.0  # for which a row is held by somebody else
    kills: int = 0  # of processes, by this fault

    def pause(self, least_seconds: float, most_seconds: float) -> float:
        seconds = self.rng.uniform(least_seconds, most_seconds) / self.haste
        time.sleep(seconds)
        return seconds

    def kill(self, pids: Sequence[int]) -> str:
        self.kills += bool(pids)
        return f"{self.ground.kill(list(pids))} processes"


MAX_WAIT_SECONDS = 60
MAX_HOLD_SECONDS = 45  # of a row that another buyer's checkout waits for, though it should not

Fault = Callable[[Scene], str]
FAULTS: dict[str, Fault] = {}
GROUPS: dict[str, str] = {}


def fault(group: str) -> Callable[[Fault], Fault]:
    def known(do: Fault) -> Fault:
        FAULTS[do.__name__] = do
        GROUPS[do.__name__] = group
        return do

    return known


# --- processes ------------------------------------------------------------------------------------


@fault("processes")
def web_process_killed(scene: Scene) -> str:
    """One of the processes that serve requests, or the one that looks after them."""
    pids = scene.ground.stack.pids("web")
    return scene.kill(scene.rng.sample(pids, min(1, len(pids))))


@fault("processes")
def web_killed(scene: Scene) -> str:
    return scene.kill(scene.ground.stack.pids("web") + scene.ground.twin_pids("web"))


@fault("processes")
def worker_killed(scene: Scene) -> str:
    return scene.kill(scene.ground.stack.pids("worker"))


@fault("processes")
def gateway_killed(scene: Scene) -> str:
    return scene.kill(scene.ground.stack.pids("gateway"))


@fault("processes")
def sweeper_killed(scene: Scene) -> str:
    return scene.kill(scene.ground.stack.pids("sweeper") + scene.ground.twin_pids("sweeper"))


@fault("processes")
def all_workers_killed(scene: Scene) -> str:
    """Both of each, and the sweepers: for a moment nobody works."""
    ground = scene.ground
    killed = []
    for name in ("worker", "gateway", "sweeper"):
        for pids in (ground.stack.pids(name), ground.twin_pids(name)):
            killed += pids
            scene.kills += bool(pids)
    return f"{ground.kill(killed)} processes"


@fault("processes")
def worker_frozen(scene: Scene) -> str:
    """Shorter than a claim, as a long collection of garbage or a move of the machine."""
    name = scene.rng.choice(("worker", "gateway"))
    scene.ground.stack.freeze(name)
    try:
        return f"{name} for {scene.pause(0.5, 3):.1f} s"
    finally:
        scene.ground.stack.thaw(name)


@fault("processes")
def worker_frozen_past_its_claim(scene: Scene) -> str:
    """It wakes when another has taken over what it had claimed, and goes on where it was."""
    scene.ground.stack.freeze("gateway")
    try:
        time.sleep(CLAIM_SECONDS + scene.rng.uniform(0.2, 1.0))  # sooner than the look-up lag ends
        return "gateway"
    finally:
        scene.ground.stack.thaw("gateway")


@fault("deploys")
def web_reloaded(scene: Scene) -> str:
    """A rolling restart, as a deploy does it: SIGHUP, new processes come before old ones go."""
    ground = scene.ground
    old = set(ground.stack.pids("web")) - {ground.first_pid("web")}
    failed_polls = scene.stream.client.tally.failed_polls
    ground.send("web", signal.SIGHUP)
    for pid in old:
        ground.wait_gone(pid)
    lost = scene.stream.client.tally.failed_polls - failed_polls
    return f"{len(old)} replaced, {lost} requests sent again"


@fault("deploys")
def web_replaced(scene: Scene) -> str:
    """SIGTERM to one of two that share the port: it finishes what it has, and is started again."""
    pid = scene.ground.first_pid("web")
    failed_polls = scene.stream.client.tally.failed_polls
    scene.ground.send("web", signal.SIGTERM)
    scene.ground.wait_gone(pid)
    lost = scene.stream.client.tally.failed_polls - failed_polls
    return f"{lost} requests sent again"


@fault("deploys")
def workers_replaced(scene: Scene) -> str:
    """SIGTERM: each finishes what it has, and is started again."""
    name = scene.rng.choice(("worker", "gateway", "sweeper"))
    pid = scene.ground.first_pid(name)
    scene.ground.send(name, signal.SIGTERM)
    scene.ground.wait_gone(pid)
    return name


# --- boundaries -----------------------------------------------------------------------------------


@fault("boundaries")
def death_at_a_boundary(scene: Scene) -> str:
    """A process dies the next time one comes by the named boundary; the order stays till then."""
    boundary = scene.rng.choice(least_often_ordered(scene.ground, scene.boundaries))
    order = scene.ground.orders / boundary
    order.touch()
    scene.ground.ordered[boundary] += 1
    deadline = time.monotonic() + 3 / scene.haste
    while order.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    return boundary


def least_often_ordered(ground: Ground, boundaries: Sequence[str]) -> list[str]:
    """Those of these at which no death is waiting, and of them the ones with the fewest so far."""
    free = [it for it in boundaries if not (ground.orders / it).exists()]
    least = min((ground.ordered[it] for it in free), default=0)
    return [it for it in free if ground.ordered[it] == least] or list(boundaries)


# --- Redis ----------------------------------------------------------------------------------------


@fault("redis")
def redis_frozen(scene: Scene) -> str:
    """Connections stay open and nothing answers."""
    scene.ground.redis_server.freeze()
    try:
        return f"{scene.pause(0.5, 4):.1f} s"
    finally:
        scene.ground.redis_server.thaw()


@fault("redis")
def redis_killed(scene: Scene) -> str:
    """What it had acknowledged is there again."""
    server = scene.ground.redis_server
    server.kill()
    try:
        return f"gone for {scene.pause(0, 3):.1f} s"
    finally:
        server.start()


@fault("redis")
def redis_flushed(scene: Scene) -> str:
    with scene.ground.redis() as redis:
        redis.flushall()
    return ""


@fault("redis")
def redis_restarted_empty(scene: Scene) -> str:
    """Its disk is gone as well."""
    server = scene.ground.redis_server
    server.kill()
    shutil.rmtree(server.directory)
    server.start()
    return ""


# --- Postgres -------------------------------------------------------------------------------------


@fault("postgres")
def postgres_restarted(scene: Scene) -> str:
    """Fast: sessions are ended, all is written out."""
    server = scene.ground.postgres
    server.stop()
    try:
        return f"gone for {scene.pause(0, 2):.1f} s"
    finally:
        server.start()


@fault("postgres")
def postgres_killed(scene: Scene) -> str:
    """It recovers from its log; fsync is on."""
    server = scene.ground.postgres
    server.kill()
    server.start()
    return ""


@fault("postgres")
def postgres_session_killed(scene: Scene) -> str:
    """kill -9 of one session: the server ends all others, for fear of what it left in memory."""
    sessions = scene.ground.rows(
        "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend'"
        " AND pid <> pg_backend_pid() ORDER BY random() LIMIT 1"
    )
    process_tree.signal_each([pid for (pid,) in sessions], signal.SIGKILL)
    return ""


@fault("postgres")
def postgres_connections_cut(scene: Scene) -> str:
    cut = scene.ground.rows(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() AND random() < 0.7"
    )
    return f"{len(cut)} connections"


@fault("postgres")
def postgres_commits_slow(scene: Scene) -> str:
    """A slow disk, imitated: every commit waits for a tenth of a second before it is written."""
    ground = scene.ground
    try:
        ground.rows("ALTER SYSTEM SET commit_delay = 100000")
        ground.rows("ALTER SYSTEM SET commit_siblings = 0")
        ground.rows("SELECT pg_reload_conf()")
        return f"{scene.pause(1, 3):.1f} s"
    finally:
        ground.rows("ALTER SYSTEM RESET commit_delay")
        ground.rows("ALTER SYSTEM RESET commit_siblings")
        ground.rows("SELECT pg_reload_conf()")


@fault("postgres")
def postgres_hangs(scene: Scene) -> str:
    """A disk that hangs, imitated: some of the server's processes stop in their tracks."""
    members = process_tree.family(scene.ground.postgres.pid)[1:]
    frozen = [pid for pid in members if scene.rng.random() < 0.6]
    process_tree.signal_each(frozen, signal.SIGSTOP)
    try:
        return f"{len(frozen)} processes for {scene.pause(0.5, 2.5):.1f} s"
    finally:
        process_tree.signal_each(frozen, signal.SIGCONT)


@fault("postgres")
def deadlocks(scene: Scene) -> str:
    """A session takes the locks in the wrong order, and lets the others be the victims."""
    before = _deadlocks(scene.ground)
    deadline = time.monotonic() + 4 / scene.haste
    while time.monotonic() < deadline:
        with suppress(psycopg.Error), scene.ground.connect() as session:
            session.execute("SET deadlock_timeout = '20s'")
            session.execute("SET lock_timeout = '3s'")
            session.execute("SELECT 1 FROM shop_stocklevel ORDER BY variant_id DESC FOR UPDATE")
            time.sleep(scene.rng.uniform(0.05, 0.3))
            session.execute(
                "SELECT 1 FROM shop_checkoutjob WHERE state IN ('awaiting_payment', 'validated')"
                " ORDER BY id DESC LIMIT 30 FOR UPDATE"
            )
            session.rollback()
        time.sleep(0.05)
    return f"{_deadlocks(scene.ground) - before} deadlocks"


def _deadlocks(ground: Ground) -> int:
    [(count,)] = ground.rows(
        "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
    )
    return int(count)


@fault("postgres")
def serialisation_failures(scene: Scene) -> str:
    """Imitated by triggers: a fifth of all writes is refused, as one that cannot be serialised."""
    ground = scene.ground
    try:
        ground.rows("UPDATE prove_refusal SET rate = 0.2")
        return f"{scene.pause(1, 3):.1f} s"
    finally:
        ground.rows("UPDATE prove_refusal SET rate = 0")


@fault("postgres")
def locks_held_long(scene: Scene) -> str:
    """A session sits on the stock rows and the newest checkouts, as a careless console does."""
    with suppress(psycopg.Error), scene.ground.connect() as session:
        session.execute("SET lock_timeout = '5s'")
        session.execute("SELECT 1 FROM shop_stocklevel ORDER BY variant_id FOR UPDATE")
        seconds = scene.pause(1, 4)
        session.rollback()
        return f"{seconds:.1f} s"
    return "got no lock"


# --- rows that somebody else has locked -----------------------------------------------------------


def _row_held(scene: Scene, table: str, column: str, key: Any) -> str:
    """
    A careless console sits on one row. A buyer who comes meanwhile, and has nothing to do with it,
    can pay before it is released.
    """
    began = time.monotonic()
    with suppress(psycopg.errors.LockNotAvailable), scene.ground.connect() as session:
        session.execute("SET lock_timeout = '5s'")
        session.execute(f"SELECT 1 FROM {table} WHERE {column} = %s FOR UPDATE", [key])
        buyer = Buyer(scene.stream, scene.rng)
        buyer.come()
        others = [it for it in scene.stream.shelf if it["id"] != key]
        buyer.fill([scene.rng.choice(others)], quantity=1)
        known = buyer.post()
        is_payable = buyer.wait(known, "awaiting_payment", seconds=MAX_HOLD_SECONDS)
        time.sleep(max(0.0, scene.lock_seconds - (time.monotonic() - began)))
        session.rollback()
        if not is_payable and known.status != "failed":
            raise AssertionError(f"{table}: another buyer's checkout stayed {known.status}")
        return f"{time.monotonic() - began:.0f} s"
    return "got no lock"


@fault("locks")
def stock_row_held(scene: Scene) -> str:
    """Of a product that is bought meanwhile."""
    variant = scene.rng.choice(scene.stream.shelf)
    return _row_held(scene, "shop_stocklevel", "variant_id", variant["id"])


@fault("locks")
def checkout_row_held(scene: Scene) -> str:
    return _row_held(scene, "shop_checkoutjob", "id", _under_way(scene)[0])


@fault("locks")
def cart_row_held(scene: Scene) -> str:
    return _row_held(scene, "shop_cart", "id", _under_way(scene)[1])


@fault("locks")
def gateway_order_row_held(scene: Scene) -> str:
    return _row_held(scene, "shop_gatewayorder", "id", _under_way(scene)[2])


def _under_way(scene: Scene) -> tuple[str, int, int, str]:
    """One that can be paid: the ids of checkout, cart, Razorpay order (ours), and Razorpay's."""
    deadline = time.monotonic() + MAX_WAIT_SECONDS
    while time.monotonic() < deadline:
        found = scene.ground.rows(
            "SELECT job.id::text, job.cart_id, row.id, row.gateway_order_id"
            " FROM shop_checkoutjob job JOIN shop_gatewayorder row ON row.order_id = job.order_id"
            " WHERE job.state = 'awaiting_payment' AND row.gateway_order_id IS NOT NULL"
            " ORDER BY job.created_at DESC LIMIT 1"
        )
        if found:
            job_id, cart_id, row_id, order_id = found[0]
            return job_id, cart_id, row_id, order_id
        time.sleep(0.05)
    raise AssertionError(f"no checkout could be paid in {MAX_WAIT_SECONDS} s")


# --- the gateway ----------------------------------------------------------------------------------


@contextmanager
def trouble(ground: Ground, *faults: dict[str, Any]) -> Iterator[None]:
    ground.trouble(*({"count": None, **fault} for fault in faults))
    try:
        yield
    finally:
        ground.trouble()


@fault("gateway")
def gateway_frozen(scene: Scene) -> str:
    """It takes connections and says nothing; what was sent meanwhile is done afterwards."""
    scene.ground.stack.freeze("standin")
    try:
        return f"{scene.pause(1, 4):.1f} s"
    finally:
        scene.ground.stack.thaw("standin")


@fault("gateway")
def gateway_resets(scene: Scene) -> str:
    when = scene.rng.choice(("before", "after"))
    with trouble(scene.ground, {"kind": "reset", "when": when, "rate": 0.8}):
        return f"{when} the work, {scene.pause(1, 4):.1f} s"


@fault("gateway")
def gateway_hangs(scene: Scene) -> str:
    when = scene.rng.choice(("before", "after"))
    with trouble(scene.ground, {"kind": "hang", "when": when, "rate": 0.6}):
        return f"{when} the work, {scene.pause(1, 4):.1f} s"


@fault("gateway")
def gateway_answers_too_late(scene: Scene) -> str:
    """It does the work after we gave up waiting: a create that happens behind our back."""
    with trouble(scene.ground, {"kind": "stall", "seconds": 3, "rate": 0.6}):
        return f"{scene.pause(1, 4):.1f} s"


@fault("gateway")
def gateway_slow(scene: Scene) -> str:
    with trouble(scene.ground, {"kind": "stall", "seconds": 1}):
        return f"a second each, {scene.pause(2, 4):.1f} s"


@fault("gateway")
def gateway_refuses_for_a_while(scene: Scene) -> str:
    retry_after = scene.rng.choice((1, 2, None))
    limited = {"kind": "too_many_requests", "rate": 0.8, "retry_after_seconds": retry_after}
    with trouble(scene.ground, limited):
        return f"429, Retry-After {retry_after}, {scene.pause(1, 3):.1f} s"


@fault("gateway")
def gateway_errors(scene: Scene) -> str:
    when = scene.rng.choice(("before", "after"))
    kinds = ("server_error", "bad_gateway", "gateway_timeout")
    faults = [{"kind": kind, "when": when, "rate": 0.25} for kind in kinds]
    faults.append({"kind": "operation_in_progress", "rate": 0.25})  # said of work not done
    with trouble(scene.ground, *faults):
        return f"{when} the work, {scene.pause(1, 4):.1f} s"


@fault("gateway")
def gateway_talks_nonsense(scene: Scene) -> str:
    """Answers to work that was done: broken off, dripping, HTML, JSON of another kind."""
    faults = [
        {"kind": "truncated_body", "rate": 0.2},
        {"kind": "slow_body", "seconds": 3, "rate": 0.2},
        {"kind": "answer", "when": "after", "status": 200, "body": "<html>hello", "rate": 0.2},
        {"kind": "answer", "when": "after", "status": 200, "body": '{"items": 7}', "rate": 0.2},
        {"kind": "answer", "when": "after", "status": 200, "body": "[]", "rate": 0.2},
    ]
    with trouble(scene.ground, *faults):
        return f"{scene.pause(1, 4):.1f} s"


@fault("gateway")
def order_never_answered(scene: Scene) -> str:
    """Polls of one order that nobody pays are answered with 500, until all comes to rest."""
    buyer = Buyer(scene.stream, scene.rng)
    buyer.come()
    buyer.fill([scene.rng.choice(scene.stream.shelf)], quantity=1)
    known = buyer.post()
    if not buyer.payable(known):
        return f"none: {known.status}"
    [gateway_order_id] = known.razorpay_order_ids
    scene.ground.never_answer(gateway_order_id)
    scene.stream.journal.reach("an order that is never answered about")
    return str(gateway_order_id)


# --- retention ------------------------------------------------------------------------------------


@fault("retention")
def guests_long_gone(scene: Scene) -> str:
    """
    Guests who have signed in since were last seen a year ago, imitated in their rows; one sweeper
    runs the retention rules in every sweep.
    """
    buyer = Buyer(scene.stream, scene.rng)
    buyer.come(as_guest=True)
    guest_id = user_id_in(buyer.token)
    buyer.fill([scene.rng.choice(scene.stream.shelf)], quantity=1)
    known = buyer.post()
    buyer.sign_in()
    known.token = buyer.token
    ids = [guest_id, *scene.stream.journal.merged_guests]
    scene.ground.rows(
        "UPDATE shop_user SET created_at = created_at - interval '400 days' WHERE id = ANY(%s)", ids
    )
    scene.ground.rows(
        "UPDATE shop_cart SET updated_at = updated_at - interval '400 days'"
        " WHERE owner_id = ANY(%s)",
        ids,
    )
    scene.stream.journal.reach("retention meets guests who have signed in")
    return f"{len(ids)} guests"


# --- webhooks -------------------------------------------------------------------------------------


@contextmanager
def befalls(ground: Ground, **script: Any) -> Iterator[None]:
    ground.standin("PATCH", "script", script)
    try:
        yield
    finally:
        ground.standin("DELETE", "script")


@fault("webhooks")
def webhooks_lost(scene: Scene) -> str:
    """For ever. A second payment is not made meanwhile: Razorpay takes none on a paid order."""
    with scene.stream.events_arrive, befalls(scene.ground, drop_all=True):
        return f"{scene.pause(2, 5):.1f} s"


@fault("webhooks")
def webhooks_thrice_and_shuffled(scene: Scene) -> str:
    with befalls(scene.ground, copies=3, order="shuffled"):
        return f"{scene.pause(2, 5):.1f} s"


@fault("webhooks")
def webhooks_late_and_reversed(scene: Scene) -> str:
    with befalls(scene.ground, delay_seconds=8, order="reversed"):
        return f"{scene.pause(2, 5):.1f} s"


# --- clocks, queues, versions ---------------------------------------------------------------------


@fault("clocks")
def clock_wrong(scene: Scene) -> str:
    """
    Of one worker and one sweeper, as far as the shop's code reads it: ahead or behind. Not the
    machine's clock, and not Celery's own.
    """
    seconds = scene.rng.choice((-1, 1)) * scene.rng.uniform(3, 15)
    clock = scene.ground.orders / crashing.CLOCK
    clock.write_text(f"{seconds:.3f}")
    try:
        return f"by {seconds:+.1f} s for {scene.pause(2, 5):.1f} s"
    finally:
        clock.unlink()


def message(task: str, kwargs: Any, args: Any = ()) -> dict[str, Any]:
    """As Celery puts it into a list of Redis."""
    body = json.dumps([list(args), kwargs, {"callbacks": None, "errbacks": None}])
    task_id = str(uuid.uuid4())
    return {
        "body": body,
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {
            "lang": "py", "task": task, "id": task_id, "root_id": task_id, "parent_id": None,
            "argsrepr": repr(args), "kwargsrepr": repr(kwargs), "retries": 0, "eta": None,
        },
        "properties": {
            "correlation_id": task_id, "reply_to": "", "delivery_mode": 2, "priority": 0,
            "delivery_tag": str(uuid.uuid4()), "body_encoding": None,
            "delivery_info": {"exchange": "", "routing_key": "checkout"},
        },
    }  # fmt: skip


def push(ground: Ground, queue: str, *messages: Any) -> None:
    with ground.redis() as redis:
        for content in messages:
            redis.lpush(queue, content if isinstance(content, bytes) else json.dumps(content))


QUEUES = {
    "checkout": ("checkout.validate_cart", "checkout.create_order"),
    "gateway": ("checkout.create_razorpay_order", "payments.check_payments"),
    "webhooks": ("payments.reconcile_webhook",),
}


@fault("queues")
def queue_full_of_strangers(scene: Scene) -> str:
    """Unknown tasks, arguments of other versions, ids of nobody, and a heap of stale rings."""
    count = 0
    for queue, tasks in QUEUES.items():
        strange = [
            message("checkout.no_such_task", {"checkout_id": str(uuid.uuid4())}),
            message("shop.tasks.removed_long_ago", {}),
            *(message(task, {"checkout_id": str(uuid.uuid4())}) for task in tasks),
            *(message(task, {}) for task in tasks),
            *(message(task, {"checkout_id": None, "added_later": [1]}) for task in tasks),
            *(message(task, {"checkout_id": "nobody", "event_id": "x" * 5000}) for task in tasks),
            *(message(task, {}, args=("by", "position")) for task in tasks),
            *(message(task, "no mapping") for task in tasks),
            *[message(task, {}) for task in tasks] * 100,
        ]
        scene.rng.shuffle(strange)
        push(scene.ground, queue, *strange)
        count += len(strange)
    return f"{count} messages"


@fault("queues")
def queue_poisoned(scene: Scene) -> str:
    """What no Celery has sent: no JSON, JSON of another shape, bodies that cannot be decoded."""
    broken = message("checkout.validate_cart", {})
    broken["body"] = "{not json"
    foreign = message("checkout.validate_cart", {}) | {"content-type": "application/x-pickle"}
    headless = {"body": "e30=", "properties": {}}
    poison: list[Any] = [b"\xff\xfe no text", b"not json", b"[]", b"7", broken, foreign, headless]
    queue = scene.rng.choice(list(QUEUES))
    one = scene.rng.choice(poison)
    push(scene.ground, queue, one)
    return f"{queue}: {one!r:.40}"


@fault("versions")
def rows_of_the_older_version(scene: Scene) -> str:
    """
    A checkout written by code of the first release, beside the code of today: it names the columns
    of its time and no others. Columns that came later must be fine with that.
    """
    buyer = Buyer(scene.stream, scene.rng)
    buyer.come()
    buyer.fill([scene.rng.choice(scene.stream.shelf)])
    cart = buyer.client.insist("GET", "/api/cart/", token=buyer.token).content
    [(job_id,)] = scene.ground.rows(
        OLDER_INSERT,
        json.dumps(ADDRESS | {"country": "IN", "line2": ""}),
        cart["total_paise"],
        len(cart["items"]),
        json.dumps([_frozen(item) for item in cart["items"]]),
        cart["id"],
    )
    answer = buyer.client.insist("GET", f"/api/checkouts/{job_id}/", token=buyer.token)
    known = scene.stream.journal.accepted(answer, token=buyer.token, key="", body={})
    buyer.wait(known, "awaiting_payment", seconds=10)
    return str(known.status)


def _frozen(item: dict[str, Any]) -> dict[str, Any]:
    return {
        "variant_id": item["variant_id"],
        "sku": item["sku"],
        "name": item["name"],
        "units": item["quantity"],
        "unit_price_paise": item["unit_price_paise"],
    }


# The columns of 0001_initial, all of them.
OLDER_INSERT = """
    WITH address AS (SELECT %s::jsonb AS it)
    INSERT INTO shop_checkoutjob (
        id, cart_version, currency, shipping_address, billing_address, email, terms_hash, lines,
        items_count, amount_paise, state, version, due_at, claim, attempts, waiting_for, expires_at,
        returned_at, error_code, error_message, error_details, last_error, created_at, updated_at,
        cart_id, owner_id, order_id)
    SELECT gen_random_uuid(), cart.version, 'INR', address.it, address.it, '', 'of the older code',
        lines.it, lines.count, lines.paise, 'queued', 1, now(), NULL, 0, '', NULL,
        NULL, '', '', '{}', '', now(), now(), cart.id, cart.owner_id, NULL
    FROM shop_cart cart, address,
        (SELECT %s::bigint AS paise, %s::int AS count, %s::jsonb AS it) lines
    WHERE cart.id = %s
    RETURNING id::text
"""
