"""The shop's WSGI application, mortal at its commits and rings."""

from tests.prove import crashing

crashing.crash_at_commits()  # before the views take `ring` from its module

from shop.wsgi import application  # noqa: E402

crashing.crash_after_receipts()

__all__ = ["application"]
