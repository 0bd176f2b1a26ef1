"""Each call to a gateway leaves a line in the log and is counted, whoever makes it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec, TypeVar

from shop.payments.call_stats import outcome_of
from shop.payments.gateway import GatewayError
from shop.telemetry.instruments import GATEWAY

Self = TypeVar("Self")
Arguments = ParamSpec("Arguments")
Answer = TypeVar("Answer")

logger = logging.getLogger(__name__)


def instrumented(
    method: Callable[Concatenate[Self, Arguments], Answer],
) -> Callable[Concatenate[Self, Arguments], Answer]:
    """
    Tell of every call of this method of a gateway: its name, what it was about (ids and amounts,
    its keyword arguments), how long it took, and what it came to.
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


def _record(
    operation: str, outcome: str, about: dict[str, object], *, started: float, error: str = ""
) -> None:
    seconds = time.perf_counter() - started
    GATEWAY.labels(operation, outcome).observe(seconds)
    level = logging.WARNING if error else logging.INFO
    if logger.isEnabledFor(level):
        fields = {"operation": operation, "outcome": outcome, **about}
        fields["duration_ms"] = round(seconds * 1000, 1)
        if error:
            fields["error"] = error
        logger.log(level, "gateway call", extra=fields)
