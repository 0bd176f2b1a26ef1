"""The shop's WSGI application, mortal at its commits and rings."""

from tests.journey.prove import dying

dying.mortal_commits()  # before the views take `ring` from its module

from shop.wsgi import application  # noqa: E402

dying.mortal_receipts()

__all__ = ["application"]
