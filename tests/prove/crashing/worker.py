"""`celery -A tests.prove.crashing.worker worker`: the shop's worker, with boundaries."""

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")

import django

django.setup()

from tasks.app import app  # noqa: E402 - after Django is set up
from tests.prove import crashing  # noqa: E402

crashing.wrong_clock()
crashing.crash_in_steps()
crashing.crash_in_tasks()

__all__ = ["app"]
