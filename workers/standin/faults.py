"""Faults on request: which calls fail, how, and whether before or after their work is done."""

import dataclasses
import random
from collections.abc import Sequence
from typing import Any, Literal, get_args

from workers.standin.errors import ApiError, refusal
from workers.standin.json_fields import BadSetting, JsonFields
from workers.standin.replies import Reply, refused

Kind = Literal[
    "hang",
    "stall",
    "reset",
    "slow_body",
    "truncated_body",
    "too_many_requests",
    "server_error",
    "bad_gateway",
    "gateway_timeout",
    "operation_in_progress",
    "conflict",
    "answer",
]
KINDS: tuple[str, ...] = get_args(Kind)
DEFAULT_SECONDS = {"hang": 3600.0, "stall": 1.0, "slow_body": 2.0}
# These damage the answer of a call that has done its work, so they have no "before".
ALWAYS_AFTER = ("slow_body", "truncated_body")


@dataclasses.dataclass(slots=True)
class Fault(JsonFields):
    """
    One kind of fault for one route (`*`: all), and only for the entity `id` if that is set.

    `count` of None: until it is removed. `rate`: the share of calls that fail.
    `retry_after_seconds` is for `too_many_requests`; None leaves the header out.
    """

    kind: Kind
    route: str = "*"
    id: str = ""
    when: Literal["before", "after"] = "before"
    count: int | None = 1
    rate: float = 1
    seconds: float = 0
    retry_after_seconds: int | None = 2
    status: int = 500
    body: str = ""
    content_type: str = "application/json"


def parsed(values: dict[str, Any]) -> Fault:
    """:raises BadSetting: an unknown field or kind, or a value out of range."""
    if "kind" not in values:
        raise BadSetting(f"kind is missing, must be one of {', '.join(KINDS)}")
    fault = Fault(kind="hang")
    fault.change(values)
    if fault.count == 0:
        raise BadSetting("count=0, must be at least 1 or null")
    if fault.kind in ALWAYS_AFTER:
        fault.when = "after"
    fault.seconds = fault.seconds or DEFAULT_SECONDS.get(fault.kind, 0)
    return fault


class Faults:
    """The active faults. The first that matches a call applies to it."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self.active: list[Fault] = []

    def take(self, route: str, ids: Sequence[str]) -> Fault | None:
        """The fault for this call, or None. Counts the fault down."""
        if not self.active:
            return None
        for fault in self.active:
            matches = fault.route in ("*", route) and (not fault.id or fault.id in ids)
            if matches and self._rng.random() < fault.rate:
                if fault.count is not None:
                    fault.count -= 1
                    if fault.count == 0:
                        self.active.remove(fault)
                return fault
        return None


HTML_502 = (
    b"<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n"
    b"<center><h1>502 Bad Gateway</h1></center>\r\n</body>\r\n</html>\r\n"
)


def reply_of(fault: Fault) -> Reply:
    """The answer of a fault that has one."""
    if fault.kind == "answer":
        return Reply(fault.status, fault.body.encode(), fault.content_type)
    if fault.kind == "too_many_requests" and fault.retry_after_seconds is not None:
        wait = {"Retry-After": str(fault.retry_after_seconds)}
        return refused(_RATE_LIMITED, headers=wait)
    return _FIXED_REPLIES[fault.kind]


_SERVER_ERROR = ApiError(
    "We are facing some trouble completing your request at the moment. Please try again shortly.",
    status=500,
    code="SERVER_ERROR",
    source="NA",
    step="NA",
    reason="NA",
)
_RATE_LIMITED = ApiError("Too many requests", status=429, source="NA", step="NA", reason="NA")
_HEAVILY_RATE_LIMITED = ApiError(
    "Request failed. Please try after sometime.", status=429, step="NA", reason="NA"
)
_FIXED_REPLIES: dict[Kind, Reply] = {
    "too_many_requests": refused(_HEAVILY_RATE_LIMITED),
    "server_error": refused(_SERVER_ERROR),
    "bad_gateway": Reply(502, HTML_502, "text/html"),
    "gateway_timeout": Reply(504, b"", "text/html"),
    "operation_in_progress": refused(refusal("operation_in_progress")),
    "conflict": refused(refusal("refund_key_in_flight", status=409)),
}
