"""The Celery app of the chain."""

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.bench.references.settings")

app = Celery("chain")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.conf.imports = ("tests.bench.references.tasks",)
