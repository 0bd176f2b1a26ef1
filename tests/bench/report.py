"""The figures with their targets, as a table and as JSON."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from tests.bench.figures import Raw
from tests.bench.machine import QUIET_LOAD

# {shop: {measurement: its runs}}
Runs = Mapping[str, Mapping[str, Sequence[Raw]]]

OURS = "ours"
INSIDE, CHAIN, CHAIN_KEPT = "inside the request", "Celery chain", "chain, connections kept"
REFERENCES = (INSIDE, CHAIN, CHAIN_KEPT)
GROWTH_BOUND = 1.15  # of a figure with old rows; above it, old rows make the shop slower


@dataclass(frozen=True, slots=True)
class Wish:
    """A figure: its place in the result of a measurement, and its target."""

    title: str
    unit: str
    measurement: str
    path: str  # of keys through the result
    better: Literal["more", "less", "exactly"]
    bound: float | None = None
    times: str = ""  # a reference: the bound is a multiple of its figure

    @property
    def key(self) -> str:
        return f"{self.measurement}.{self.path}" + (f" / {self.times}" if self.times else "")


WISHES = (
    Wish("checkouts to awaiting payment", "1/s", "rush", "per_second", "more", 250),
    Wish("  as a multiple of the Celery chain's", "×", "rush", "per_second", "more", 8, CHAIN),
    Wish("  … with its connections kept", "×", "rush", "per_second", "more", 6, CHAIN_KEPT),
    Wish("  CPU each", "ms", "rush", "cpu_ms.total", "less", 6),
    Wish("  commits each", "", "rush", "commits", "less", 2),
    Wish("  Redis commands each", "", "rush", "redis_commands", "less", 4),
    Wish("  POST p50", "ms", "rush", "post_ms.p50", "less"),
    Wish("  POST p99", "ms", "rush", "post_ms.p99", "less"),
    Wish("  POST → awaiting payment p50", "ms", "rush", "post_to_payable_ms.p50", "less"),
    Wish("  POST → awaiting payment p99", "ms", "rush", "post_to_payable_ms.p99", "less"),
    Wish("the same, gateway 200 ms", "1/s", "rush-200", "per_second", "more"),
    Wish("  CPU each", "ms", "rush-200", "cpu_ms.total", "less"),
    Wish("a lone checkout: POST p50", "ms", "lone", "post_ms.p50", "less", 10),
    Wish("  POST p99", "ms", "lone", "post_ms.p99", "less"),
    Wish("  POST → awaiting payment p50", "ms", "lone", "post_to_payable_ms.p50", "less", 60),
    Wish("  POST → awaiting payment p99", "ms", "lone", "post_to_payable_ms.p99", "less"),
    Wish("  … p50, gateway 200 ms", "ms", "lone-200", "post_to_payable_ms.p50", "less", 260),
    Wish("status reads", "1/s", "reads", "full.per_second", "more", 1500),
    Wish("  CPU each", "ms", "reads", "full.cpu_ms.total", "less", 0.9),
    Wish("  p50", "ms", "reads", "full.ms.p50", "less"),
    Wish("  p99", "ms", "reads", "full.ms.p99", "less"),
    Wish("  unchanged (304)", "1/s", "reads", "unchanged.per_second", "more", 1500),
    Wish("  unchanged (304), CPU each", "ms", "reads", "unchanged.cpu_ms.total", "less", 0.6),
    Wish("webhooks accepted", "1/s", "webhooks", "apart.accept.per_second", "more", 600),
    Wish("  CPU each", "ms", "webhooks", "apart.accept.cpu_ms.total", "less", 1.2),
    Wish("  CPU to settle each", "ms", "webhooks", "apart.settle.cpu_ms.total", "less", 2),
    Wish("  p50", "ms", "webhooks", "together.ms.p50", "less"),
    Wish("  p99", "ms", "webhooks", "together.ms.p99", "less"),
    Wish("  paid, accepting meanwhile", "1/s", "webhooks", "together.paid_per_second", "more"),
    Wish("all-in, 16 buyers: paid", "1/s", "visits", "paid_per_second", "more"),
    Wish("  CPU each", "ms", "visits", "cpu_ms.total", "less", 12),
    Wish("  status reads each", "", "visits", "status_reads", "less", 3),
    Wish("  a status read p50", "ms", "visits", "status_read_ms.p50", "less"),
    Wish("  a status read p99", "ms", "visits", "status_read_ms.p99", "less"),
    Wish("all-in, gateway 200 ms: paid", "1/s", "visits-200", "paid_per_second", "more"),
    Wish("  CPU each", "ms", "visits-200", "cpu_ms.total", "less", 12),
    Wish("  status reads each", "", "visits-200", "status_reads", "less", 6),
    Wish("flash sale: sold of 100", "", "flash", "sold", "exactly", 100),
    Wish("  errors", "", "flash", "errors", "exactly", 0),
    Wish("  everybody decided within", "s", "flash", "decided_seconds", "less", 6),
    Wish("  POST p99", "ms", "flash", "post_ms.p99", "less", 400),
)  # fmt: skip
SLOW_GATEWAY_SHARE = 0.8  # the rate at 200 ms must be this share of that at 0 ms


@dataclass(frozen=True, slots=True)
class Figure:
    key: str
    title: str
    unit: str
    ours: float
    target: str
    ok: bool | None  # None: it has no target
    references: dict[str, float] = field(default_factory=dict)


def figures(runs: Runs) -> list[Figure]:
    """Every figure that was measured. A repeated figure is its median."""
    found = []
    for wish in WISHES:
        if (ours := value(runs, OURS, wish)) is None:
            continue
        theirs = {name: value(runs, name, wish) for name in REFERENCES}
        beside = {
            name: found_there for name, found_there in theirs.items() if found_there is not None
        }
        if wish.times:
            if wish.times not in beside:
                continue
            ours, beside = ours / beside[wish.times], {}
        bound = _bound(wish, runs)
        found.append(
            Figure(
                wish.key,
                wish.title,
                wish.unit,
                ours,
                "" if bound is None else f"{SIGNS[wish.better]} {shown(bound)}",
                None if bound is None else MEETS[wish.better](ours, bound),
                beside,
            )
        )
    return found


HOW_COUNTED = (
    "CPU is user and system time of web, workers, sweeper, PostgreSQL and Redis; commits are those"
    " in the write-ahead log. The load and the gateway run on the same cores and are not counted."
)
SIGNS = {"more": "≥", "less": "≤", "exactly": "="}
MEETS: dict[str, Callable[[float, float], bool]] = {
    "more": lambda ours, bound: ours >= bound,
    "less": lambda ours, bound: ours <= bound,
    "exactly": lambda ours, bound: ours == bound,
}


def growth(before: Runs, after: Runs) -> list[Figure]:
    """Figures with old rows against those without, except p99, which varies too much."""
    found = []
    for wish in WISHES:
        was, now = value(before, OURS, wish), value(after, OURS, wish)
        is_tail = wish.path.endswith("p99")
        if wish.times or wish.better == "exactly" or is_tail or not was or not now:
            continue
        worse = was / now if wish.better == "more" else now / was
        ok = worse <= GROWTH_BOUND
        found.append(Figure(wish.key, wish.title, wish.unit, now, _growth_target(wish, was), ok))
    return found


def _growth_target(wish: Wish, was: float) -> str:
    bound = was / GROWTH_BOUND if wish.better == "more" else was * GROWTH_BOUND
    return f"{SIGNS[wish.better]} {shown(bound)}, was {shown(was)}"


def value(runs: Runs, shop: str, wish: Wish) -> float | None:
    several = runs.get(shop, {}).get(wish.measurement, ())
    values = [found for run in several if (found := _follow(run, wish.path)) is not None]
    return median(values) if values else None


def median(values: Iterable[float]) -> float:
    ordered = sorted(values)
    return ordered[len(ordered) // 2]


def _bound(wish: Wish, runs: Runs) -> float | None:
    if (wish.measurement, wish.path) == ("rush-200", "per_second"):
        fast = value(runs, OURS, WISHES[0])
        return None if fast is None else SLOW_GATEWAY_SHARE * fast
    return wish.bound


def _follow(run: Raw, path: str) -> float | None:
    found: Any = run
    for name in path.split("."):
        found = found.get(name) if isinstance(found, dict) else None
    return found


def shown(number: float) -> str:
    """Three significant digits; noise hides more."""
    if not number:
        return "0"
    digits = max(0, 2 - math.floor(math.log10(abs(number))))
    return f"{number:,.{digits}f}"


def table(found: Sequence[Figure]) -> str:
    heads = ("figure", "unit", "ours", "target", "", *REFERENCES)
    rows = [
        (
            figure.title,
            figure.unit,
            shown(figure.ours),
            figure.target,
            {True: "ok", False: "missed", None: ""}[figure.ok],
            *(
                shown(figure.references[name]) if name in figure.references else ""
                for name in REFERENCES
            ),
        )
        for figure in found
    ]
    widths = [max(len(row[at]) for row in (heads, *rows)) for at in range(len(heads))]
    return "\n".join(_line(row, widths) for row in (heads, *rows))


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    texts = [
        cell.rjust(width) if at in {2, 5, 6, 7} else cell.ljust(width)
        for at, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ]
    return "  ".join(texts).rstrip()


def heading(machine: Mapping[str, Any]) -> str:
    durable = ", ".join(f"{name}={told}" for name, told in machine["postgres_settings"].items())
    versions = (
        f"Python {machine['python']}, PostgreSQL {machine['postgres']} ({durable}),"
        f" {machine['redis']}, Django {machine['Django']}, Celery {machine['celery']},"
        f" Granian {machine['granian']}"
    )
    lines = [f"{machine['cores']} cores, {machine['cpu']}; {versions}", HOW_COUNTED]
    if machine["load_at_start"] > QUIET_LOAD:
        lines.append(
            f"NOT QUIET: the load was {machine['load_at_start']:.2f} at the start;"
            " only figures of one run can be compared with each other"
        )
    return "\n".join(lines)


def as_json(found: Sequence[Figure]) -> list[dict[str, Any]]:
    return [asdict(figure) for figure in found]
