"""
The benchmark's command line; README.md beside this file says what is measured.

    python -m tests.bench [--quick] [--only NAME ...] [--grown N] [--soak N] [--json FILE]
    python -m tests.bench --only NAME --profile ROLE [ROLE ...]
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from shop.addresses import data_dir_of
from tests.bench import machine, pakka, plan, profiles, report
from tests.bench.benchmark import Benchmark
from tests.bench.gateway_process import GatewayProcess
from tests.bench.pakka import PROCESSES, Pakka
from tests.bench.shops import BenchError
from tests.bench.soak import figures as soak_figures
from tests.bench.soak import soak, through
from tests.bench.upkeep import upkeep
from tests.support.old_rows import grow
from workers.stack.server import ServiceError
from workers.stack.spawn import last_lines

KEPT_IN = data_dir_of(os.environ)


def main() -> int:
    given = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # closes contexts
    load_at_start = machine.load_average()
    with shop_in_a_directory_of_its_own() as shop:
        facts = machine.describe(shop.stack.services, load_at_start=load_at_start)
        print(report.heading(facts), flush=True)
        measured = profile(shop, given) if given.profile else measure(shop, given)
        kept = {
            "command": command(given),
            "day": f"{datetime.now(UTC):%Y-%m-%d}",
            "machine": facts,
            "size": given.size,
        } | measured
    given.json.parent.mkdir(parents=True, exist_ok=True)
    given.json.write_text(json.dumps(kept, indent=2) + "\n")
    tell(f"kept as {given.json}")
    return 0


def arguments() -> argparse.Namespace:
    words = argparse.ArgumentParser(prog="python -m tests.bench")
    words.add_argument("--size", choices=list(plan.SIZES), default="standard")
    words.add_argument("--quick", dest="size", action="store_const", const="quick")
    words.add_argument("--only", nargs="+", choices=list(plan.MEASUREMENTS), metavar="NAME",
                       default=list(plan.MEASUREMENTS))  # fmt: skip
    words.add_argument("--no-references", action="store_true")
    words.add_argument("--grown", type=int, metavar="N", help="again with N old checkouts")
    words.add_argument("--soak", type=int, metavar="N", help="memory over N checkouts")
    words.add_argument("--profile", nargs="+", choices=PROCESSES, metavar="ROLE")
    words.add_argument("--json", type=Path, default=KEPT_IN / "bench.json")
    return words.parse_args()


def command(given: argparse.Namespace) -> str:
    """The command as anybody would repeat it, without `--json`."""
    words = [word for word in sys.argv[1:] if word not in {"--json", str(given.json)}]
    return f"make bench BENCH_ARGS='{shlex.join(words)}'" if words else "make bench"


def measure(shop: Pakka, given: argparse.Namespace) -> dict[str, Any]:
    """Run the selected measurements and print each part when it is done."""
    sizes = plan.SIZES[given.size]
    benchmark = Benchmark(shop, sizes, tell=tell)
    benchmark.run(given.only, references=not given.no_references)
    found = {"figures": show("", report.figures(benchmark.runs)), "runs": benchmark.runs}
    if given.grown:
        tell(f"making {given.grown} old checkouts ...")
        through(shop, 20)  # `grow` copies one of them
        grow(shop.stack.services.superuser_url, checkouts=given.grown)
        again = Benchmark(shop, sizes, tell=tell)
        again.run(given.only, references=False)
        title = f"with {given.grown:,} old checkouts"
        found["grown"] = show(title, report.growth(benchmark.runs, again.runs))
        found["runs_grown"] = again.runs
        found["upkeep"] = show("beside checkouts", upkeep(now=datetime.now(UTC)))
    if given.soak:
        looks = soak(shop, count=given.soak, tell=tell)
        found["soak"] = show("memory", soak_figures(looks))
        found["memory"] = looks
    return found


def show(title: str, figures: Sequence[report.Figure]) -> list[dict[str, Any]]:
    print("\n".join(["", *filter(None, [title]), report.table(figures)]), flush=True)
    return report.as_json(figures)


def profile(shop: Pakka, given: argparse.Namespace) -> dict[str, Any]:
    """Profile the selected processes: print functions, return the shares of packages."""
    sizes = plan.SIZES[given.size]
    plan.warm_up(shop, sizes)
    found: dict[str, Any] = {}
    for name in given.only:
        plan.prepare(name, shop, sizes)
        with profiles.recorded({role: shop.stack.pids(role) for role in given.profile}) as stacks:
            plan.measure(name, shop, sizes)
        for role, lines in stacks.items():
            file = KEPT_IN / f"profile-{name}-{role}.txt"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("\n".join(lines) + "\n")
            print(f"\n{name}, {role} ({file}: collapsed stacks)\n{profiles.summary(lines)}")
            found[f"{name}, {role}"] = profiles.by_package(lines)
    return {"profile": found}


@contextmanager
def shop_in_a_directory_of_its_own() -> Iterator[Pakka]:
    """The shop and its gateway in a temporary directory. A failure prints the ends of logs."""
    data_dir = Path(tempfile.mkdtemp(prefix="pakka-bench-"))
    try:
        with GatewayProcess(data_dir / "log") as gateway, pakka.running(data_dir, gateway) as shop:
            yield shop
    except (BenchError, ServiceError) as error:
        for log in sorted((data_dir / "log").glob("*.log")):
            print(f"--- {log.name}\n{last_lines(log, 5)}", file=sys.stderr)
        sys.exit(f"the benchmark failed: {error}")
    finally:
        shutil.rmtree(data_dir, ignore_errors=True)


def tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
