"""Traces cost nothing where nobody wants them, and say what is missing where somebody does."""

import importlib.util
import os
import subprocess
import sys

from workers.addresses import REPOSITORY

START = """
import sys, django
django.setup()
import shop.urls, tasks.watching, shop.wsgi
print(*[name for name in sys.modules if name.startswith("opentelemetry")])
"""


def start(**environ: str) -> subprocess.CompletedProcess[str]:
    known = os.environ | {"DJANGO_SETTINGS_MODULE": "shop.settings"} | environ
    return subprocess.run(
        [sys.executable, "-c", START],
        cwd=REPOSITORY,
        env=known,
        capture_output=True,
        text=True,
        check=False,
    )


def test_nothing_of_it_is_imported_unasked():
    done = start(OTEL_EXPORTER_OTLP_ENDPOINT="")

    assert (done.returncode, done.stdout) == (0, "\n"), done.stderr


def test_who_asks_for_it_without_the_packages_is_told_what_to_install():
    assert importlib.util.find_spec("opentelemetry") is None  # not among what tests install

    done = start(OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9")

    assert done.returncode != 0
    assert "OTEL_EXPORTER_OTLP_ENDPOINT needs requirements-otel.txt" in done.stderr
