"""The request class of the WSGI application."""

from __future__ import annotations

from django.core.handlers.wsgi import WSGIRequest


class Utf8Request(WSGIRequest):
    """
    A request that is always decoded as UTF-8, whatever charset its header names.

    Django would decode the query with any codec of Python, even `zlib`, and while it creates the
    request: no middleware and no error handler could catch the exception.
    """

    @property
    def encoding(self) -> str:
        return "utf-8"

    @encoding.setter
    def encoding(self, named: str) -> None:
        """Ignored."""
