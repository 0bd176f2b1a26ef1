"""The rules of the code that a program can check."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for package in ("shop", "tasks", "workers")
    for path in sorted((ROOT / package).rglob("*.py"))
    if "migrations" not in path.parts
}

# A module imports from its own layer and from those before it. Of a layer that names several
# packages, none imports from another.
LAYERS = (
    ("shop.addresses", "shop.env", "shop.formats"),
    ("shop.telemetry", "shop.db", "shop.money", "shop.backoff"),
    ("shop.settings",),
    ("shop.pricing",),
    ("shop.catalogue", "shop.accounts", "shop.roles"),
    ("shop.carts",),
    ("shop.cart_sync",),
    ("shop.orders",),
    ("shop.stock",),
    ("shop.payments",),
    ("shop.checkout",),
    ("shop.operations",),
    ("tasks",),
    ("shop.api",),
    ("shop.admin", "shop.ops", "shop.web"),
    ("shop.apps", "shop.models", "shop.templatetags", "shop.urls", "shop.wsgi"),
    ("shop.management",),
    ("workers.stop_signals", "workers.procfile", "workers.health"),
    ("workers.stack", "workers.standin", "workers.sweeper"),
)
DOMAIN = ("shop.money", "shop.backoff", *(package for layer in LAYERS[3:12] for package in layer))
# Packages without code of their own.
EMPTY = ("shop", "workers")


def is_in(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


def place_of(module: str) -> tuple[int, str] | None:
    """The layer of a module, and the package of that layer that it is in."""
    return next(
        (
            (height, package)
            for height, layer in enumerate(LAYERS)
            for package in layer
            if is_in(module, package)
        ),
        None,
    )


@cache
def nodes_of(path: Path) -> list[ast.AST]:
    return list(ast.walk(ast.parse(path.read_text())))


def names_imported(path: Path) -> Iterator[str]:
    for node in nodes_of(path):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@cache
def modules_imported(path: Path) -> set[str]:
    """The modules of ours that a file imports, those inside functions too."""
    found = set()
    for name in names_imported(path):
        while name and name not in SOURCES:
            name = name.rpartition(".")[0]  # noqa: PLW2901 - a name in a module
        if name:
            found.add(name)
    return found


def calls_in(path: Path) -> list[str]:
    return [ast.unparse(node.func) for node in nodes_of(path) if isinstance(node, ast.Call)]


def in_domain() -> list[str]:
    return [module for module in SOURCES if any(is_in(module, package) for package in DOMAIN)]


@pytest.mark.parametrize("module", SOURCES)
def test_every_module_has_a_layer(module):
    assert place_of(module) or module in EMPTY


@pytest.mark.parametrize("module", SOURCES)
def test_imports_run_one_way(module):
    place = place_of(module)
    assert place or not modules_imported(SOURCES[module])
    upward = []
    for imported in modules_imported(SOURCES[module]):
        theirs = place_of(imported)
        if theirs and theirs != place and place and theirs[0] >= place[0]:
            upward.append(imported)
    assert not upward


def test_no_modules_import_each_other():
    graph = {module: modules_imported(path) - {module} for module, path in SOURCES.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"a circle of imports: {' -> '.join(error.args[1])}")


@pytest.mark.parametrize("module", [name for name in SOURCES if is_in(name, "workers.standin")])
def test_the_standin_imports_nothing_of_the_shop(module):
    imported = modules_imported(SOURCES[module])
    assert not [name for name in imported if not is_in(name, "workers.standin")]


@pytest.mark.parametrize("module", [name for name in SOURCES if is_in(name, "workers.stack")])
def test_the_stack_imports_nothing_of_the_shop_but_addresses(module):
    imported = modules_imported(SOURCES[module])
    allowed = ("workers", "shop.addresses")
    assert not [name for name in imported if not any(is_in(name, it) for it in allowed)]


def test_no_test_imports_a_test():
    """What several tests use is in `tests/support`, or in a module of their directory."""
    found = [
        f"{path.relative_to(ROOT)}: {name}"
        for path in sorted((ROOT / "tests").rglob("*.py"))
        for name in names_imported(path)
        if re.search(r"^tests\.(.*\.)?(test_\w+|conftest)\b", name)
    ]
    assert not found


@pytest.mark.parametrize("module", in_domain())
def test_the_domain_imports_neither_celery_nor_drf(module):
    foreign = ("celery", "kombu", "rest_framework")
    names = names_imported(SOURCES[module])
    assert not [name for name in names if any(is_in(name, other) for other in foreign)]


@pytest.mark.parametrize("module", in_domain())
def test_the_domain_is_given_the_time(module):
    clocks = {"timezone.now", "datetime.now", "time.time"}
    assert not clocks & set(calls_in(SOURCES[module]))


def test_only_notify_sends_tasks():
    senders = {
        module
        for module, path in SOURCES.items()
        if any(call.endswith((".delay", ".apply_async", ".send_task")) for call in calls_in(path))
    }
    assert senders == {"tasks.notify"}


# Where Razorpay's format, its signatures or its client are needed.
KNOWS_RAZORPAY = (
    "shop.payments.razorpay",
    "shop.checkout.steps.reconcile_webhook",
    "shop.checkout.confirm",
    "tasks",
    "shop.api.webhooks",
    "shop.management",
)


@pytest.mark.parametrize(
    "module",
    [name for name in SOURCES if not any(is_in(name, allowed) for allowed in KNOWS_RAZORPAY)],
)
def test_other_modules_know_no_razorpay(module):
    imported = modules_imported(SOURCES[module])
    assert not [name for name in imported if is_in(name, "shop.payments.razorpay")]


@pytest.mark.parametrize(
    "module", [name for name in SOURCES if not is_in(name, "shop.payments.razorpay")]
)
def test_only_one_package_uses_the_sdk_of_razorpay(module):
    assert not [name for name in names_imported(SOURCES[module]) if is_in(name, "razorpay")]
