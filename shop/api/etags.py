"""Entity tags that are version numbers."""

from __future__ import annotations

from django.http import HttpRequest
from rest_framework.request import Request


def quoted(version: int) -> str:
    return f'"{version}"'


def is_fresh(request: HttpRequest | Request, version: int) -> bool:
    """Whether the caller has this version already, by `If-None-Match` (compared weakly)."""
    given = request.headers.get("If-None-Match", "")
    tags = [tag.strip().removeprefix("W/") for tag in given.split(",")]
    return quoted(version) in tags or "*" in tags
