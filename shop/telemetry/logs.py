"""
Logs: one JSON object a line, with the ids of its request, task and checkout.

Use the standard library's `logging`, with `extra` for fields. The ids come from context variables.
They follow a request through its Celery message into the task and its gateway calls. Tracebacks
come from the interpreter, so they never show values of variables.
"""

from __future__ import annotations

import io
import logging
import re
import uuid
from collections.abc import Callable
from typing import Any

import orjson
import structlog
from structlog.typing import EventDict, WrappedLogger

from shop.telemetry.redaction import redacted_value

# A caller's request id: searchable, and unable to break a log line or a header.
SANE_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")

# Objects that libraries attach to records: the whole request, a task with its message.
DROPPED = ("request", "data", "status_code", "server_time")


def request_id(given: str) -> str:
    """The caller's id if it is valid, else a new one."""
    return given if SANE_ID.fullmatch(given) else uuid.uuid4().hex


def begin(**ids: str) -> None:
    """Add these ids, and no others, to all that this thread logs from now on."""
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(**{name: value for name, value in ids.items() if value})


def end() -> None:
    """Add no ids to what this thread logs from now on."""
    structlog.contextvars.clear_contextvars()


def current_request_id() -> str:
    """The request that this thread handles, or that notified its task; empty if there is none."""
    return str(structlog.contextvars.get_contextvars().get("request_id", ""))


def drop_objects(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    for name in DROPPED:
        event.pop(name, None)
    return event


def redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    return {
        name: value if name.startswith("_") else redacted_value(value, name)
        for name, value in event.items()
    }


# A traceback becomes text before `redact`. The time is added after it, because it needs none.
_PROCESSORS: list[Any] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.ExtraAdder(),
    drop_objects,
    structlog.processors.format_exc_info,
    redact,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
]


def _to_json(event: EventDict, *, default: Callable[[Any], Any], **_options: object) -> str:
    return orjson.dumps(event, default=default, option=orjson.OPT_NON_STR_KEYS).decode()


def formatter() -> structlog.stdlib.ProcessorFormatter:
    """One JSON line for any record of the standard library."""
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=_PROCESSORS,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.JSONRenderer(serializer=_to_json),
        ],
    )


class Lines(io.TextIOBase):
    """A text stream whose lines are logged, for code that prints."""

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        self._rest = ""

    def write(self, text: str) -> int:
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            if line.strip():
                self._logger.info("%s", line.strip())
        return len(text)


def config(level: str) -> dict[str, Any]:
    """The value of Django's LOGGING."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "json": {"()": formatter},
        },
        "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "json"}},
        "root": {"handlers": ["console"], "level": level},
        "loggers": {
            # Without Django's own console handler, which would not use the formatter above.
            "django": {"handlers": [], "level": "NOTSET", "propagate": True},
            "django.server": {"handlers": [], "level": "NOTSET", "propagate": True},
            # RequestLog and tasks/signals.py already log one line for each request and task.
            "django.request": {"level": "ERROR"},
            # A request with an unknown Host header gets 400, without a traceback in the log.
            "django.security.DisallowedHost": {"level": "CRITICAL"},
            "celery.worker.strategy": {"level": "WARNING"},
            "celery.app.trace": {"level": "WARNING"},
        },
    }
