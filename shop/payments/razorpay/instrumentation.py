"""Logs and measures every call to the gateway."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec, TypeVar

from shop.payments.gateway import Declined, GatewayError, Unreachable
from shop.telemetry.instruments import GATEWAY

Self = TypeVar("Self")
Arguments = ParamSpec("Arguments")
Answer = TypeVar("Answer")

logger = logging.getLogger(__name__)


def instrumented(
    method: Callable[Concatenate[Self, Arguments], Answer],
) -> Callable[Concatenate[Self, Arguments], Answer]:
    """
    Log and measure every call of this gateway method.

    The log line has the method's name, its keyword arguments (ids and amounts), the duration and
    the outcome; the histogram has all but the arguments.
    """
    operation = method.__name__

    @wraps(method)
    def call(self: Self, /, *args: Arguments.args, **kwargs: Arguments.kwargs) -> Answer:
        started = time.perf_counter()
        try:
            answer = method(self, *args, **kwargs)
        except GatewayError as error:
            _record(operation, outcome_of(error), kwargs, started=started, error=str(error))
            raise
        except Exception as error:
            _record(operation, "bug", kwargs, started=started, error=repr(error))
            raise
        _record(operation, "ok", kwargs, started=started)
        return answer

    return call


def outcome_of(error: GatewayError) -> str:
    """`declined`, `rate_limited`, `unreachable` or `unknown`."""
    match error:
        case Declined():
            return "declined"
        case Unreachable():
            return "rate_limited" if error.is_rate_limit else "unreachable"
    return "unknown"


def _record(
    operation: str, outcome: str, arguments: dict[str, object], *, started: float, error: str = ""
) -> None:
    seconds = time.perf_counter() - started
    GATEWAY.labels(operation, outcome).observe(seconds)
    level = logging.WARNING if error else logging.INFO
    if logger.isEnabledFor(level):
        fields = {"operation": operation, "outcome": outcome, **arguments}
        fields["duration_ms"] = round(seconds * 1000, 1)
        if error:
            fields["error"] = error
        logger.log(level, "gateway call", extra=fields)
