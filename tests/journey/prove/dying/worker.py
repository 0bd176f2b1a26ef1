"""`celery -A tests.journey.prove.dying.worker worker`: the shop's worker, mortal at boundaries."""

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")

import django

django.setup()

from tasks.app import app  # noqa: E402 - after Django is set up
from tests.journey.prove import dying  # noqa: E402

dying.wrong_clock()
dying.mortal_steps()
dying.mortal_tasks()

__all__ = ["app"]
