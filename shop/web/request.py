"""Requests as web servers hand them over."""

from __future__ import annotations

from django.core.handlers.wsgi import WSGIRequest


class Utf8Request(WSGIRequest):
    """
    All text is UTF-8, whatever charset a header names.

    Django decodes the query with any codec that Python knows, `zlib` too, and while it makes the
    request: what that raises, no middleware and no error handler sees.
    """

    @property
    def encoding(self) -> str:
        return "utf-8"

    @encoding.setter
    def encoding(self, named: str) -> None:
        """Not believed."""
