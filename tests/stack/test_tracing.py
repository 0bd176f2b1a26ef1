"""Tracing: off without an endpoint, and a clear error without its packages."""

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


def test_without_an_endpoint_nothing_is_imported():
    done = start(OTEL_EXPORTER_OTLP_ENDPOINT="")

    assert (done.returncode, done.stdout) == (0, "\n"), done.stderr


def test_an_endpoint_without_the_packages_names_what_to_install():
    assert importlib.util.find_spec("opentelemetry") is None  # not among what tests install

    done = start(OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9")

    assert done.returncode != 0
    assert "OTEL_EXPORTER_OTLP_ENDPOINT needs requirements-otel.txt" in done.stderr


def imported_by(path: str) -> set[str]:
    tree = ast.parse((REPOSITORY / path).read_text())
    found = {
        name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names
    }
    return found | {
        node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)
    }


def test_the_traced_libraries_are_the_used_ones():
    """The packages are not installed here, so this compares names."""
    wanted = (REPOSITORY / "requirements-otel.in").read_text()
    traced = set(re.findall(r"^opentelemetry-instrumentation-(\w+)$", wanted, re.MULTILINE))
    prefix = "opentelemetry.instrumentation."

    assert {f"{prefix}{name}" for name in traced} == {
        name for name in imported_by("shop/telemetry/tracing.py") if name.startswith(prefix)
    }
    assert traced & imported_by("shop/payments/razorpay/client.py") == {"urllib3"}
