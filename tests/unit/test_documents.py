"""Documents point to files and headings that exist."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NOT_OURS = {".venv", ".data", ".git", "node_modules", ".pytest_cache", ".hypothesis"}
DOCUMENTS = sorted(
    path for path in ROOT.rglob("*.md") if not NOT_OURS & set(path.relative_to(ROOT).parts)
)
LINK = re.compile(r"\]\(([^)\s]+)\)|(?:src|href)=\"([^\"]+)\"")
PATH = re.compile(r"`((?:shop|tasks|workers|tests|docs|deploy)/[\w/.-]+\.[a-z]{2,4})(?:::\w+)?`")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


def links_of(document: Path) -> Iterator[str]:
    for found in LINK.finditer(document.read_text()):
        link = found[1] or found[2]
        if not link.startswith(("http://", "https://", "mailto:")):
            yield link


def anchors_of(document: Path) -> set[str]:
    """The headings as GitHub names them."""
    headings = HEADING.findall(document.read_text())
    return {re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-") for text in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_points_to_a_file_and_a_heading(document: Path):
    broken = []
    for link in links_of(document):
        name, _, anchor = link.partition("#")
        target = (document.parent / name) if name else document
        if not target.exists() or (anchor and anchor not in anchors_of(target)):
            broken.append(link)

    assert not broken


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_path_in_a_document_exists(document: Path):
    paths = PATH.findall(document.read_text())

    assert not [path for path in paths if not (ROOT / path).exists()]


def test_every_setting_from_the_environment_is_documented():
    read = re.compile(r"\benv(?:_\w+|\.\w+)\(\s*[\"']([A-Z_]+)[\"']")
    names = set(read.findall((ROOT / "shop/settings.py").read_text()))
    documented = set(re.findall(r"`([A-Z_]+)`", (ROOT / "docs/settings.md").read_text()))

    assert len(names) > 30
    assert names <= documented
