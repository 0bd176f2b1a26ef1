"""
Logs: one line of JSON each, with the request, the task and the checkout that it belongs to.

Whoever writes uses the standard library's `logging`, with `extra` for fields. The ids come from
context variables, which follow a request through its ring into the task and its gateway calls.
Tracebacks are the interpreter's own: they never show values of variables.
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

# Of others that ask for it: enough to find it again, nothing that could break a log or a header.
SANE_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")

# What libraries hang on their records: the request with all it holds, a task with its message.
DROPPED = ("request", "data", "status_code", "server_time")


def request_id(given: str) -> str:
    """The id that the caller sent, if it is fit to be one; else a new one."""
    return given if SANE_ID.fullmatch(given) else uuid.uuid4().hex


def begin(**ids: str) -> None:
    """All that this thread writes from now on carries these ids, and none of an earlier time."""
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(**{name: value for name, value in ids.items() if value})


def end() -> None:
    """What this thread writes belongs to nobody."""
    structlog.contextvars.clear_contextvars()


def present_request_id() -> str:
    """The request that this thread works for, or that rang for its task; empty if there is none."""
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


# The order matters: a traceback is text before it is looked through, the time need not be.
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
    """One line of JSON for a record of the standard library, whoever wrote it."""
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=_PROCESSORS,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.JSONRenderer(serializer=_to_json),
        ],
    )


class Lines(io.TextIOBase):
    """A text stream whose lines become lines of the log: for programs that print what they do."""

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        self._begun = ""

    def write(self, text: str) -> int:
        *lines, self._begun = (self._begun + text).split("\n")
        for line in lines:
            if line.strip():
                self._logger.info("%s", line.strip())
        return len(text)


def config(level: str) -> dict[str, Any]:
    """For Django's LOGGING."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "json": {"()": formatter},
        },
        "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "json"}},
        "root": {"handlers": ["console"], "level": level},
        "loggers": {
            # Django's own: its console handler would write past the formatter above.
            "django": {"handlers": [], "level": "NOTSET", "propagate": True},
            "django.server": {"handlers": [], "level": "NOTSET", "propagate": True},
            # One line for each request and each task is ours; theirs would be a second.
            "django.request": {"level": "ERROR"},
            # Whoever knocks under a false name gets 400, and may not fill our logs with it.
            "django.security.DisallowedHost": {"level": "CRITICAL"},
            "celery.worker.strategy": {"level": "WARNING"},
            "celery.app.trace": {"level": "WARNING"},
        },
    }
