"""The command line of the fault suite; see the package."""

import argparse
import json
import random
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from tests.prove import report
from tests.prove.faults import FAULTS, GROUPS
from tests.prove.run import LONG, SHORT, run


def main() -> int:
    arguments = parsed()
    form = LONG if arguments.long else SHORT
    if arguments.times:
        times = {name: count * arguments.times for name, count in form.times.items()}
        form = replace(form, times=times)
    seed = arguments.seed if arguments.seed is not None else random.randrange(10**6)
    command = f"make prove{' LONG=1' if arguments.long else ''} SEED={seed}{selection(arguments)}"
    print(f"{form.name} form, seed {seed}: `{command}` repeats it", flush=True)
    result = run(
        form,
        seed=seed,
        only=arguments.only,
        data_dir=arguments.data_dir,
        log=clocked(time.monotonic()),
    )
    print(f"\n{report.table(result)}", flush=True)
    if arguments.json:
        arguments.json.write_text(
            json.dumps(report.as_dict(result, command=command), indent=1) + "\n"
        )
    if arguments.write_proof:
        report.write_proof(result, arguments.write_proof, command=command)
    return 1 if result.findings else 0


def clocked(began: float) -> Callable[[str], None]:
    """Print lines with the seconds since the start."""
    return lambda line: print(f"{time.monotonic() - began:6.1f} {line}", flush=True)


def selection(arguments: argparse.Namespace) -> str:
    """The arguments that `make prove` has no variable for, as it takes them."""
    times = [f"--times {arguments.times}"] if arguments.times else []
    only = [f"--only {' '.join(arguments.only)}"] if arguments.only else []
    return f" PROVE_ARGS='{' '.join([*times, *only])}'" if times or only else ""


def parsed() -> argparse.Namespace:
    known = sorted({*FAULTS, *GROUPS.values()})
    parser = argparse.ArgumentParser(prog="python -m tests.prove")
    parser.add_argument(
        "--long", action="store_true", help="hundreds of faults, under half an hour"
    )
    parser.add_argument(
        "--seed", type=int, help="repeat a run: the same buyers, the same order of faults"
    )
    parser.add_argument(
        "--only", nargs="+", default=[], choices=known, metavar="FAULT", help=", ".join(known)
    )
    parser.add_argument("--times", type=int, help="do each fault this many times as often")
    parser.add_argument(
        "--data-dir", type=Path, help="an empty directory for data and logs, which stay"
    )
    parser.add_argument("--json", type=Path, help="write the result to this file")
    parser.add_argument("--write-proof", type=Path, help="write docs/proof.md to this file")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
