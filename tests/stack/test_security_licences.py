"""No dependency has a licence that requires the source of the whole program."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, metadata

from shop.addresses import REPOSITORY

SHIPPED = ("requirements.txt", "requirements-otel.txt")
# Asked for by name, so that a licence that nobody has looked at turns the test red.
FINE = re.compile(
    r"\b(MIT|BSD|Apache|ISC|PSF|Python Software Foundation|MPL|Mozilla|Unlicense|Zlib|HPND|CC0)",
    re.IGNORECASE,
)
# psycopg: the LGPL requires that the library can be replaced, which is true of a package.
LESSER = {"psycopg", "psycopg-binary", "psycopg-pool"}
STRICT = re.compile(r"\b(A?GPL|Affero|GNU General Public|SSPL|BUSL|Commons Clause)", re.IGNORECASE)


def shipped() -> set[str]:
    return {
        name.partition("[")[0].lower()
        for lock in SHIPPED
        for name in re.findall(r"^([\w.\[\],-]+)==", (REPOSITORY / lock).read_text(), re.MULTILINE)
    }


def licence_of(package: str) -> str:
    """All fields of the package about its licence, short ones first."""
    about = metadata(package)
    classifiers = [it for it in about.get_all("Classifier") or [] if it.startswith("License")]
    named = [about.get("License-Expression") or "", *classifiers]
    text = about.get("License") or ""
    return "; ".join(it for it in [*named, text.strip().splitlines()[0] if text else ""] if it)


def installed() -> dict[str, str]:
    found = {}
    for package in shipped():
        try:
            found[package] = licence_of(package)
        except PackageNotFoundError:  # for another system, or for tracing, which is optional
            continue
    return found


def test_no_dependency_requires_the_source_of_the_whole_program():
    licences = installed()

    assert len(licences) > 40
    unknown = {
        name: licence
        for name, licence in licences.items()
        if name not in LESSER and (STRICT.search(licence) or not FINE.search(licence))
    }
    assert unknown == {}


def test_only_named_packages_have_the_lesser_licence():
    licences = installed()

    assert {name for name in licences if re.search("LGPL|Lesser", licences[name])} <= LESSER
