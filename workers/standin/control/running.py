"""Control routes for health, settings, faults, the clock, counters and the reset."""

import dataclasses
from typing import Any

from workers.standin import api, faults
from workers.standin.control.commands import Command, command
from workers.standin.json_fields import BadSetting


@command("GET", "health")
def health(cmd: Command) -> Any:
    standin = cmd.standin
    return {
        "status": "ok",
        "key_id": standin.settings.key_id,
        "now": standin.clock.now(),
        **standin.account.counts(),
        "deliveries_waiting": standin.outbox.waiting_count(),
    }


@command("POST", "reset")
def reset(cmd: Command) -> Any:
    cmd.standin.reset()
    return {}


@command("GET", "settings")
def show_settings(cmd: Command) -> Any:
    return dataclasses.asdict(cmd.standin.behaviour)


@command("PATCH", "settings")
def change_settings(cmd: Command) -> Any:
    """Change the named settings. A new time scale applies to timers set from now on."""
    standin = cmd.standin
    standin.behaviour.change(cmd.body)
    standin.timers.scale = standin.behaviour.time_scale
    return dataclasses.asdict(standin.behaviour)


@command("GET", "faults")
def list_faults(cmd: Command) -> Any:
    """The active faults, and the names of routes and kinds."""
    active = [dataclasses.asdict(fault) for fault in cmd.standin.faults.active]
    return {"active": active, "routes": api.ROUTER.names(), "kinds": faults.KINDS}


@command("POST", "faults")
def add_faults(cmd: Command) -> Any:
    """Add one fault, or a list of them, after the active ones."""
    cmd.standin.faults.active.extend(_parsed(cmd.content))
    return list_faults(cmd)


@command("PUT", "faults")
def replace_faults(cmd: Command) -> Any:
    cmd.standin.faults.active = _parsed(cmd.content)
    return list_faults(cmd)


@command("DELETE", "faults")
def clear_faults(cmd: Command) -> Any:
    """End all faults, and let hanging calls continue."""
    cmd.standin.faults.active = []
    cmd.standin.end_waits()
    return list_faults(cmd)


def _parsed(content: Any) -> list[faults.Fault]:
    described = content if isinstance(content, list) else [content]
    if not all(isinstance(values, dict) for values in described):
        raise BadSetting("a fault is an object with a kind and a route")
    parsed = [faults.parsed(values) for values in described]
    for fault in parsed:
        if fault.route not in ("*", *api.ROUTER.names()):
            raise BadSetting(f"route={fault.route!r}, must be * or a name in GET /_standin/faults")
    return parsed


@command("GET", "clock")
def show_clock(cmd: Command) -> Any:
    clock = cmd.standin.clock
    return {"now": clock.now(), "frozen": clock.frozen_at is not None}


@command("POST", "clock")
def change_clock(cmd: Command) -> Any:
    """`frozen` true or false, then `now` or `advance_seconds`; what falls due happens at once."""
    body = cmd.checked_body("frozen", "now", "advance_seconds")
    for field in ("now", "advance_seconds"):
        if not isinstance(body.get(field, 0), int | float):
            raise BadSetting(f"{field}={body[field]!r}, must be a number of seconds")
    clock = cmd.standin.clock
    if "frozen" in body:
        clock.freeze() if body["frozen"] else clock.thaw()
    if "now" in body:
        clock.set(body["now"])
    clock.advance(body.get("advance_seconds", 0))
    cmd.standin.timers.run_due()
    return show_clock(cmd)


@command("GET", "requests")
def show_requests(cmd: Command) -> Any:
    """For each route, the number of calls by answer: a status, or a fault that gave none."""
    traffic = cmd.standin.traffic
    return {
        "routes": {route: dict(answers) for route, answers in traffic.answers.items()},
        "in_flight": traffic.in_flight,
        "peak_in_flight": traffic.peak_in_flight,
        "events": dict(cmd.standin.outbox.events_made),
    }
