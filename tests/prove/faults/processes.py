"""Faults of processes: killed, frozen, deployed, crashed at a boundary, with a wrong clock."""

from __future__ import annotations

import signal
import time
from collections.abc import Sequence

from tests.prove import crashing
from tests.prove.environment import CLAIM_SECONDS, Environment
from tests.prove.faults.registry import FaultContext, fault


@fault("processes")
def web_process_killed(context: FaultContext) -> str:
    """Kill one of the processes that serve requests, or their parent."""
    pids = context.env.stack.pids("web")
    return context.kill(context.rng.sample(pids, min(1, len(pids))))


@fault("processes")
def web_killed(context: FaultContext) -> str:
    return context.kill(context.env.stack.pids("web") + context.env.crashing_pids("web"))


@fault("processes")
def worker_killed(context: FaultContext) -> str:
    return context.kill(context.env.stack.pids("worker"))


@fault("processes")
def gateway_killed(context: FaultContext) -> str:
    return context.kill(context.env.stack.pids("gateway"))


@fault("processes")
def sweeper_killed(context: FaultContext) -> str:
    return context.kill(context.env.stack.pids("sweeper") + context.env.crashing_pids("sweeper"))


@fault("processes")
def all_workers_killed(context: FaultContext) -> str:
    """Kill both of each worker and both sweepers."""
    env = context.env
    killed = []
    for name in ("worker", "gateway", "sweeper"):
        for pids in (env.stack.pids(name), env.crashing_pids(name)):
            killed += pids
            context.kills += bool(pids)
    return f"{env.kill(killed)} processes"


@fault("processes")
def worker_frozen(context: FaultContext) -> str:
    """Freeze a worker for less than a claim, as a long garbage collection would."""
    name = context.rng.choice(("worker", "gateway"))
    context.env.stack.freeze(name)
    try:
        return f"{name} for {context.pause(0.5, 3):.1f} s"
    finally:
        context.env.stack.thaw(name)


@fault("processes")
def worker_frozen_past_its_claim(context: FaultContext) -> str:
    """Freeze a worker past its claim: it continues after another has taken its rows over."""
    context.env.stack.freeze("gateway")
    try:
        time.sleep(CLAIM_SECONDS + context.rng.uniform(0.2, 1.0))  # before the look-up lag ends
        return "gateway"
    finally:
        context.env.stack.thaw("gateway")


@fault("deploys")
def web_reloaded(context: FaultContext) -> str:
    """Roll the web processes, as a deploy does: SIGHUP starts new ones before old ones stop."""
    env = context.env
    old = set(env.stack.pids("web")) - {env.first_pid("web")}
    unanswered = context.stream.client.tally.unanswered
    env.send("web", signal.SIGHUP)
    for pid in old:
        env.wait_gone(pid)
    lost = context.stream.client.tally.unanswered - unanswered
    return f"{len(old)} replaced, {lost} requests sent again"


@fault("deploys")
def web_replaced(context: FaultContext) -> str:
    """SIGTERM one of two web servers on the port: it finishes its requests and is restarted."""
    pid = context.env.first_pid("web")
    unanswered = context.stream.client.tally.unanswered
    context.env.send("web", signal.SIGTERM)
    context.env.wait_gone(pid)
    lost = context.stream.client.tally.unanswered - unanswered
    return f"{lost} requests sent again"


@fault("deploys")
def workers_replaced(context: FaultContext) -> str:
    """SIGTERM one worker: it finishes its work and is restarted."""
    name = context.rng.choice(("worker", "gateway", "sweeper"))
    pid = context.env.first_pid(name)
    context.env.send(name, signal.SIGTERM)
    context.env.wait_gone(pid)
    return name


@fault("boundaries")
def crash_at_a_boundary(context: FaultContext) -> str:
    """Request a crash at a named boundary. The request stays until a process reaches it."""
    boundary = context.rng.choice(least_often_requested(context.env, context.boundaries))
    request = context.env.crash_requests / boundary
    request.touch()
    context.env.requested[boundary] += 1
    deadline = time.monotonic() + 3 / context.speed_up
    while request.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    return boundary


def least_often_requested(env: Environment, boundaries: Sequence[str]) -> list[str]:
    """Of the boundaries without a pending request, those with the fewest requests so far."""
    free = [name for name in boundaries if not (env.crash_requests / name).exists()]
    least = min((env.requested[name] for name in free), default=0)
    return [name for name in free if env.requested[name] == least] or list(boundaries)


@fault("clocks")
def clock_wrong(context: FaultContext) -> str:
    """
    Change the clock that the shop's code reads in one worker and one sweeper, ahead or behind.

    Simulated: the machine's clock and Celery's stay right.
    """
    seconds = context.rng.choice((-1, 1)) * context.rng.uniform(3, 15)
    clock = context.env.crash_requests / crashing.CLOCK
    clock.write_text(f"{seconds:.3f}")
    try:
        return f"by {seconds:+.1f} s for {context.pause(2, 5):.1f} s"
    finally:
        clock.unlink()
