"""Traces cost nothing where nobody wants them, and say what is missing where somebody does."""

import ast
import importlib.util
import os
import re
import subprocess
import sys

from shop.addresses import REPOSITORY

START = """
import sys, django
django.setup()
import shop.urls, tasks.signals, shop.wsgi
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


def imported_by(path: str) -> set[str]:
    tree = ast.parse((REPOSITORY / path).read_text())
    found = {name.name for it in ast.walk(tree) if isinstance(it, ast.Import) for name in it.names}
    return found | {it.module or "" for it in ast.walk(tree) if isinstance(it, ast.ImportFrom)}


def test_what_is_traced_is_what_makes_the_calls():
    """The packages are not here to try it with; that the gateway changed its library once, is."""
    wanted = (REPOSITORY / "requirements-otel.in").read_text()
    traced = set(re.findall(r"^opentelemetry-instrumentation-(\w+)$", wanted, re.MULTILINE))
    prefix = "opentelemetry.instrumentation."

    assert {f"{prefix}{name}" for name in traced} == {
        name for name in imported_by("shop/telemetry/tracing.py") if name.startswith(prefix)
    }
    assert traced & imported_by("shop/payments/razorpay/client.py") == {"urllib3"}
