"""The code and the test files that docs/decisions/guards.md names exist."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from shop.addresses import REPOSITORY

DOCUMENT = (REPOSITORY / "docs" / "decisions" / "guards.md").read_text()
ROWS = re.findall(r"^\| ([^|]+) \| (`[^|]+`) \| (`[^|]+`) \|", DOCUMENT, re.MULTILINE)
SOURCES = [
    path for name in ("shop", "tasks", "workers") for path in (REPOSITORY / name).rglob("*.py")
]
TESTS = {path.stem for path in (REPOSITORY / "tests").rglob("test_*.py")}


def quoted(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def names_in(scope: ast.Module | ast.ClassDef, owner: str) -> Iterator[str]:
    """`owner.name` for what a module or class defines; `Class.method` for its classes too."""
    for node in scope.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            yield f"{owner}.{node.name}"
        if isinstance(node, ast.ClassDef):
            yield from names_in(node, owner)
            yield from names_in(node, node.name)
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        yield from (f"{owner}.{name.id}" for name in targets if isinstance(name, ast.Name))


def test_the_guarded_code_exists():
    defined = {
        name for path in SOURCES for name in names_in(ast.parse(path.read_text()), path.stem)
    } | {path.name for path in SOURCES}
    missing = [
        (guard, name)
        for guard, code, _ in ROWS
        for name in quoted(code)
        if ".".join(name.split(".")[-2:]) not in defined and not (REPOSITORY / name).exists()
    ]
    assert not missing


def test_the_test_files_exist():
    missing = [(guard, name) for guard, _, files in ROWS for name in quoted(files)
               if name not in TESTS]  # fmt: skip
    assert not missing


def test_each_guard_is_named_once():
    guards = [guard for guard, *_ in ROWS]
    assert len(guards) > 250
    assert len(set(guards)) == len(guards)
