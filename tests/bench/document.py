"""
Write the figures of a run into docs/speed.md, between its marks.

    python -m tests.bench.document bench.json [...]    # later files win where both have a part
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.bench.report import REFERENCES, shown

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "speed.md"
PACKAGES = 14
MARK = {True: "", False: " ✗", None: ""}


def main(files: Sequence[str]) -> int:
    text = DOCUMENT.read_text()
    for file in files:
        for name, lines in parts(json.loads(Path(file).read_text())).items():
            text = replaced(text, name, "\n".join(lines))
    DOCUMENT.write_text(text)
    return 0


def parts(kept: Mapping[str, Any]) -> dict[str, list[str]]:
    """{mark: lines} of the parts that the run has."""
    found = {}
    if kept.get("figures"):
        found["machine"] = machine(kept["machine"], command=kept["command"], day=kept["day"])
        found["figures"] = figures(kept["figures"])
    if kept.get("grown"):
        found["grown"] = bounded(kept["grown"], "figure, with the old rows")
    if kept.get("profile"):
        found["profile"] = profile(kept["profile"], command=kept["command"], day=kept["day"])
    if kept.get("soak"):
        found["memory"] = bounded(kept["soak"], "the process of each role that grew most")
    return found


def machine(facts: Mapping[str, Any], *, command: str, day: str) -> list[str]:
    settings = ", ".join(f"{name}={told}" for name, told in facts["postgres_settings"].items())
    versions = (
        f"Python {facts['python']}, PostgreSQL {facts['postgres']} ({settings}), {facts['redis']},"
        f" Django {facts['Django']}, Celery {facts['celery']}, Granian {facts['granian']}"
    )
    shared = "the load, the gateway, the shop and its databases share it"
    loaded = f"load {facts['load_at_start']:.2f} at the start"
    return [
        f"- command: `{command}`, {day}",
        f"- machine: {facts['cores']} cores ({facts['cpu']}), {loaded}; {shared}",
        f"- versions: {versions}",
    ]


def figures(found: Sequence[Mapping[str, Any]]) -> list[str]:
    lines = [
        row("figure", "", "ours", "target", *REFERENCES),
        row(*["---"] * (4 + len(REFERENCES))),
    ]
    for it in found:
        theirs = (
            shown(it["references"][name]) if name in it["references"] else "" for name in REFERENCES
        )
        ours = f"**{shown(it['ours'])}**{MARK[it['ok']]}"
        lines.append(row(title(it), it["unit"], ours, it["target"], *theirs))
    return lines


def bounded(found: Sequence[Mapping[str, Any]], what: str) -> list[str]:
    lines = [row(what, "", "now", "bound"), row(*["---"] * 4)]
    for it in found:
        ours = f"{shown(it['ours'])}{MARK[it['ok']]}"
        lines.append(row(title(it), it["unit"], ours, it["target"]))
    return lines


def profile(found: Mapping[str, Mapping[str, float]], *, command: str, day: str) -> list[str]:
    """The packages with the most samples, in per cent of a process's samples."""
    together = Counter[str]()
    for shares in found.values():
        together.update(shares)
    lines = [f"`{command}`, {day}", "", row("", *found), row("---", *["---"] * len(found))]
    for package, _ in together.most_common(PACKAGES):
        shares = (f"{of.get(package, 0):.0f} %" for of in found.values())
        lines.append(row(package, *shares))
    return lines


def title(figure: Mapping[str, Any]) -> str:
    """Replace the two blanks that indent a figure: Markdown would drop them."""
    text = str(figure["title"])
    return f"… {text.strip().removeprefix('… ')}" if text.startswith("  ") else text


def row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def replaced(text: str, name: str, found: str) -> str:
    begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
    before, _, rest = text.partition(begin)
    _, _, after = rest.partition(end)
    return f"{before}{begin}{found}\n{end}{after}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
