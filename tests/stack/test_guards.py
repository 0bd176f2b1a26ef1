"""The table of guards names tests that are there: one that was renamed holds a guard no longer."""

from __future__ import annotations

import re

import pytest

from shop.addresses import REPOSITORY

DOCUMENT = (REPOSITORY / "docs" / "decisions" / "guards.md").read_text()
ROWS = [line.strip("| ").split(" | ") for line in DOCUMENT.splitlines() if line.startswith("| ")][
    1:
]


def sentences_in(file: str) -> list[str]:
    """The sentences that the tests in files of this name are named with, on whatever rung."""
    sources = [path.read_text() for path in (REPOSITORY / "tests").glob(f"*/{file}.py")]
    names = re.findall(r"^def test_(\w+)", "\n".join(sources), re.MULTILINE)
    return [name.replace("_", " ") for name in names]


def words(sentence: str) -> str:
    """As the name of a test has them; a case in brackets is none of them."""
    plain = sentence.partition("[")[0].replace("'", "").replace(".", " ").lower()
    return " ".join(re.findall(r"\w+", plain))


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_the_tests_that_hold_a_guard_are_there(row: list[str]):
    for part in row[2].split("; "):
        files, _, sentence = part.partition(": ")
        found = re.findall(r"`(test_\w+)`", files)
        assert found
        assert words(sentence)
        for file in found:
            assert [name for name in sentences_in(file) if words(sentence) in name], (
                file,
                sentence,
            )
