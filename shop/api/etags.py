"""Entity tags made of version numbers."""

from __future__ import annotations

from django.http import HttpRequest
from rest_framework.request import Request


def quoted(version: int) -> str:
    return f'"{version}"'


def is_fresh(request: HttpRequest | Request, version: int) -> bool:
    """Whether `If-None-Match` names this version (weak comparison)."""
    given = request.headers.get("If-None-Match", "")
    tags = [tag.strip().removeprefix("W/") for tag in given.split(",")]
    return quoted(version) in tags or "*" in tags
