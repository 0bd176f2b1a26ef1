"""The shop's WSGI application, with boundaries at commits and notifications."""

from tests.prove import crashing

crashing.crash_at_commits()  # before the views import `notify`

from shop.wsgi import application  # noqa: E402

crashing.crash_after_receipts()

__all__ = ["application"]
