"""Many checkouts from POST to paid: does the memory of a process grow?"""

from __future__ import annotations

from collections.abc import Callable

from tests.bench.figures import Raw
from tests.bench.pakka import Pakka
from tests.bench.report import Figure
from tests.bench.rush import rush
from tests.bench.shops import wait_until_none

STEP = 2000
MARKS = (0.2, 0.6, 1.0)  # shares of the run at which memory is read
FLAT = 1.1  # maximum, as a multiple of the first value ...
SLACK_MIB = 3.0  # ... plus this: allocators take memory in blocks


def soak(shop: Pakka, *, count: int, tell: Callable[[str], None]) -> list[Raw]:
    """The memory of every process at each mark: {"checkouts", "memory_mib": {role: {pid: MiB}}}."""
    looks: list[Raw] = []
    done = 0
    for mark in MARKS:
        while done < int(mark * count):
            step = min(STEP, int(mark * count) - done)
            through(shop, step)
            done += step
            tell(f"soak: {done} of {count}")
        looks.append({"checkouts": done, "memory_mib": shop.meter.memory_mib()})
    return looks


def through(shop: Pakka, count: int) -> None:
    """Pay `count` new checkouts, and those that are already payable."""
    rush(shop, count=count, delay_ms=0)
    order_ids = [it.progress.gateway_order_id for it in shop.payable]
    shop.payable = []
    shop.gateway.burst(order_ids, connections=16)
    wait_until_none(shop.events_waiting)


def figures(looks: list[Raw]) -> list[Figure]:
    """For each role, the process that grew most, of those that ran the whole time."""
    first, last = looks[0], looks[-1]
    found = []
    for role, before in first["memory_mib"].items():
        after = last["memory_mib"][role]
        lived = [pid for pid in before if pid in after]
        if not lived:
            continue
        worst = max(lived, key=lambda pid: after[pid] - before[pid])
        bound = FLAT * before[worst] + SLACK_MIB
        found.append(
            Figure(
                f"soak.{role}",
                f"{role}: memory after {last['checkouts']:,} checkouts",
                "MiB",
                after[worst],
                f"≤ {FLAT} × {before[worst]:.1f} + {SLACK_MIB:g}",
                after[worst] <= bound,
            )
        )
    return found
