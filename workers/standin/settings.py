"""The settings of the stand-in at its start, from the environment and the command line."""

import argparse
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar
from urllib.parse import urlsplit

from workers.standin.behaviour import Behaviour
from workers.standin.json_fields import BadSetting

DEFAULT_KEY_ID = "rzp_test_standin"
DEFAULT_KEY_SECRET = "standin_secret"
DEFAULT_WEBHOOK_SECRET = "standin_webhook_secret"

Number = TypeVar("Number", int, float)


@dataclasses.dataclass(frozen=True, slots=True)
class Settings:
    """Settings that do not change while the stand-in runs. The first webhook secret signs."""

    host: str
    port: int
    key_id: str
    key_secret: str
    webhook_secrets: tuple[str, ...]
    webhook_urls: tuple[str, ...]
    seed: str | None
    at_start: Behaviour


def from_environment(environ: Mapping[str, str], arguments: Sequence[str]) -> Settings:
    """
    The settings of this process.

    :raises BadSetting: a value is wrong. The text names the variable and the value.
    """
    parser = argparse.ArgumentParser(prog="python -m workers.standin")
    parser.add_argument("--port", help="port to listen on (STANDIN_PORT, 8010)")
    given = {**environ}
    if (port := parser.parse_args(arguments).port) is not None:
        given["STANDIN_PORT"] = port

    key_id = given.get("RAZORPAY_KEY_ID") or DEFAULT_KEY_ID
    if not key_id.startswith("rzp_test_"):
        raise BadSetting(
            "RAZORPAY_KEY_ID must begin with rzp_test_: the stand-in takes no live key"
        )
    at_start = Behaviour(
        latency_ms=_number(given, "STANDIN_LATENCY_MS", 0),
        time_scale=_number(given, "STANDIN_TIME_SCALE", 1, above_zero=True),
        receipt_lag_seconds=_number(given, "STANDIN_RECEIPT_LAG_SECONDS", 8),
        list_lag_seconds=_number(given, "STANDIN_LIST_LAG_SECONDS", 120),
        webhook_spread_seconds=_number(given, "STANDIN_WEBHOOK_SPREAD_SECONDS", 0.85),
    )
    return Settings(
        host=given.get("STANDIN_HOST") or "127.0.0.1",
        port=_port(given),
        key_id=key_id,
        key_secret=given.get("RAZORPAY_KEY_SECRET") or DEFAULT_KEY_SECRET,
        webhook_secrets=_listed(given, "RAZORPAY_WEBHOOK_SECRETS") or (DEFAULT_WEBHOOK_SECRET,),
        webhook_urls=tuple(map(checked_url, _listed(given, "STANDIN_WEBHOOK_URLS"))),
        seed=given.get("STANDIN_SEED") or None,
        at_start=at_start,
    )


def checked_url(url: str) -> str:
    """Return `url`. :raises BadSetting: no webhook can be sent to it."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise BadSetting(f"STANDIN_WEBHOOK_URLS: {url!r} is not an http or https address")
    return url


def _listed(given: Mapping[str, str], name: str) -> tuple[str, ...]:
    return tuple(item for part in given.get(name, "").split(",") if (item := part.strip()))


def _port(given: Mapping[str, str]) -> int:
    port = _parsed(given, "STANDIN_PORT", 8010, int)
    if not 0 <= port <= 65535:
        raise BadSetting(f"STANDIN_PORT={port}, must be from 0 to 65535")
    return port


def _number(
    given: Mapping[str, str], name: str, default: float, *, above_zero: bool = False
) -> float:
    value = _parsed(given, name, default, float)
    if not 0 <= value < float("inf") or (above_zero and value == 0):
        raise BadSetting(f"{name}={given[name]}, must be above zero")
    return value


def _parsed(
    given: Mapping[str, str], name: str, default: Number, kind: Callable[[str], Number]
) -> Number:
    text = given.get(name, "").strip()
    try:
        return kind(text) if text else default
    except ValueError:
        raise BadSetting(f"{name}={text}, must be a number") from None
