"""Faults of Redis and PostgreSQL."""

from __future__ import annotations

import shutil
import signal
import time
from contextlib import suppress

import psycopg

from tests.prove.environment import Environment
from tests.prove.faults.registry import FaultContext, fault
from workers.stack import process_tree


@fault("redis")
def redis_frozen(context: FaultContext) -> str:
    """Freeze Redis: connections stay open and nothing answers."""
    context.env.redis_server.freeze()
    try:
        return f"{context.pause(0.5, 4):.1f} s"
    finally:
        context.env.redis_server.thaw()


@fault("redis")
def redis_killed(context: FaultContext) -> str:
    """Kill Redis. It restarts with everything it had acknowledged."""
    server = context.env.redis_server
    server.kill()
    try:
        return f"gone for {context.pause(0, 3):.1f} s"
    finally:
        server.start()


@fault("redis")
def redis_flushed(context: FaultContext) -> str:
    with context.env.redis() as redis:
        redis.flushall()
    return ""


@fault("redis")
def redis_restarted_empty(context: FaultContext) -> str:
    """Kill Redis and delete its data."""
    server = context.env.redis_server
    server.kill()
    shutil.rmtree(server.directory)
    server.start()
    return ""


@fault("postgres")
def postgres_restarted(context: FaultContext) -> str:
    """Restart by a fast shutdown: sessions end, data is written."""
    server = context.env.postgres
    server.stop()
    try:
        return f"gone for {context.pause(0, 2):.1f} s"
    finally:
        server.start()


@fault("postgres")
def postgres_killed(context: FaultContext) -> str:
    """Kill the server. It recovers from its log; fsync is on."""
    server = context.env.postgres
    server.kill()
    server.start()
    return ""


@fault("postgres")
def postgres_session_killed(context: FaultContext) -> str:
    """kill -9 one session: the server then ends all others, as shared memory may be corrupt."""
    sessions = context.env.rows(
        "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend'"
        " AND pid <> pg_backend_pid() ORDER BY random() LIMIT 1"
    )
    process_tree.signal_each([pid for (pid,) in sessions], signal.SIGKILL)
    return ""


@fault("postgres")
def postgres_connections_cut(context: FaultContext) -> str:
    cut = context.env.rows(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() AND random() < 0.7"
    )
    return f"{len(cut)} connections"


@fault("postgres")
def postgres_commits_slow(context: FaultContext) -> str:
    """A slow disk, simulated: every commit waits 0.1 s before it is written."""
    env = context.env
    try:
        env.rows("ALTER SYSTEM SET commit_delay = 100000")
        env.rows("ALTER SYSTEM SET commit_siblings = 0")
        env.rows("SELECT pg_reload_conf()")
        return f"{context.pause(1, 3):.1f} s"
    finally:
        env.rows("ALTER SYSTEM RESET commit_delay")
        env.rows("ALTER SYSTEM RESET commit_siblings")
        env.rows("SELECT pg_reload_conf()")


@fault("postgres")
def postgres_hangs(context: FaultContext) -> str:
    """A disk that hangs, simulated: some of the server's processes are frozen."""
    members = process_tree.family(context.env.postgres.pid)[1:]
    frozen = [pid for pid in members if context.rng.random() < 0.6]
    process_tree.signal_each(frozen, signal.SIGSTOP)
    try:
        return f"{len(frozen)} processes for {context.pause(0.5, 2.5):.1f} s"
    finally:
        process_tree.signal_each(frozen, signal.SIGCONT)


@fault("postgres")
def deadlocks(context: FaultContext) -> str:
    """A session locks rows in the wrong order and waits longer, so others are the victims."""
    before = _deadlocks(context.env)
    deadline = time.monotonic() + 4 / context.speed_up
    while time.monotonic() < deadline:
        with suppress(psycopg.Error), context.env.connect() as session:
            session.execute("SET deadlock_timeout = '20s'")
            session.execute("SET lock_timeout = '3s'")
            session.execute("SELECT 1 FROM shop_stocklevel ORDER BY variant_id DESC FOR UPDATE")
            time.sleep(context.rng.uniform(0.05, 0.3))
            session.execute(
                "SELECT 1 FROM shop_checkoutjob WHERE state IN ('awaiting_payment', 'validated')"
                " ORDER BY id DESC LIMIT 30 FOR UPDATE"
            )
            session.rollback()
        time.sleep(0.05)
    return f"{_deadlocks(context.env) - before} deadlocks"


def _deadlocks(env: Environment) -> int:
    [(count,)] = env.rows(
        "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
    )
    return int(count)


@fault("postgres")
def serialisation_failures(context: FaultContext) -> str:
    """Simulated by triggers: a fifth of all writes fails with a serialisation failure."""
    env = context.env
    try:
        env.rows("UPDATE prove_refusal SET rate = 0.2")
        return f"{context.pause(1, 3):.1f} s"
    finally:
        env.rows("UPDATE prove_refusal SET rate = 0")


@fault("postgres")
def locks_held_long(context: FaultContext) -> str:
    """A session locks all stock rows, as a forgotten psql transaction does."""
    with suppress(psycopg.Error), context.env.connect() as session:
        session.execute("SET lock_timeout = '5s'")
        session.execute("SELECT 1 FROM shop_stocklevel ORDER BY variant_id FOR UPDATE")
        seconds = context.pause(1, 4)
        session.rollback()
        return f"{seconds:.1f} s"
    return "got no lock"
