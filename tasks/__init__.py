"""The Celery app and its tasks. `celery -A tasks worker` finds `app` here."""

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")

from tasks.app import app

__all__ = ["app"]
