"""Rules of the house that a program can hold."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = [
    path
    for package in ("shop", "tasks", "workers")
    for path in sorted((ROOT / package).rglob("*.py"))
    if "migrations" not in path.parts
]

# Who may be imported from below: the way runs from left to right, and never back.
LAYERS = (
    "shop.money",
    "shop.catalogue",
    "shop.carts",
    "shop.orders",
    "shop.stock",
    "shop.payments",
    "shop.checkout",
    "tasks",
)
# The edges: they may use all of the domain, and nothing of the domain uses them.
EDGES = ("shop.api", "shop.admin", "shop.ops", "shop.health", "shop.metrics", "workers", "tasks")
DOMAIN = LAYERS[:-1]


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def is_in(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


def layer_of(module: str) -> int | None:
    return next((n for n, layer in enumerate(LAYERS) if is_in(module, layer)), None)


@pytest.mark.parametrize("path", SOURCES, ids=module_of)
def test_imports_run_one_way(path):
    own = layer_of(module_of(path))
    if own is None:
        return
    above = [
        name for name in imports(path) if (layer := layer_of(name)) is not None and layer > own
    ]
    assert not above


@pytest.mark.parametrize(
    "path",
    [path for path in SOURCES if any(is_in(module_of(path), layer) for layer in DOMAIN)],
    ids=module_of,
)
def test_the_domain_knows_neither_celery_nor_drf_nor_its_edges(path):
    strangers = ("celery", "kombu", "rest_framework", *EDGES)
    assert not [name for name in imports(path) if any(is_in(name, other) for other in strangers)]


@pytest.mark.parametrize(
    "path",
    [path for path in SOURCES if any(is_in(module_of(path), layer) for layer in DOMAIN)],
    ids=module_of,
)
def test_the_domain_is_told_the_time(path):
    calls = [
        ast.unparse(node.func)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
    ]
    assert not [call for call in calls if call in {"timezone.now", "datetime.now", "time.time"}]


def test_only_the_doorbell_sends_tasks():
    senders = {
        module_of(path)
        for path in SOURCES
        if any(
            isinstance(node, ast.Attribute) and node.attr in {"delay", "apply_async", "send_task"}
            for node in ast.walk(ast.parse(path.read_text()))
        )
    }
    assert senders == {"tasks.app"}


def test_the_standin_knows_nothing_of_the_shop():
    for path in (ROOT / "workers" / "standin").rglob("*.py"):
        assert not [name for name in imports(path) if is_in(name, "shop") or is_in(name, "tasks")]
