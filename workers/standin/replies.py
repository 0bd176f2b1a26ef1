"""Complete responses, which are sent in one write."""

import dataclasses
import json
from typing import Any

from workers.standin.errors import ApiError, NoRoute


@dataclasses.dataclass(frozen=True, slots=True)
class Reply:
    status: int
    body: bytes
    content_type: str = "application/json"
    headers: dict[str, str] = dataclasses.field(default_factory=dict)


def json_reply(content: Any, *, status: int = 200, headers: dict[str, str] | None = None) -> Reply:
    text = json.dumps(content, separators=(",", ":"), ensure_ascii=False)
    return Reply(status, text.encode(), headers=headers or {})


def refused(error: ApiError, *, headers: dict[str, str] | None = None) -> Reply:
    return json_reply(error.body, status=error.status, headers=headers)


NO_ROUTE = json_reply(NoRoute.BODY, status=404)
