"""The measurements by name, their sizes, and the references they are compared with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from tests.bench.figures import Raw
from tests.bench.flash import flash
from tests.bench.lone import lone
from tests.bench.pakka import Pakka
from tests.bench.reads import reads
from tests.bench.reference_shops import (
    CHAIN,
    CHAIN_REUSING,
    INSIDE_REQUEST,
    Kind,
    ReferenceShop,
)
from tests.bench.rush import rush
from tests.bench.visits import visits
from tests.bench.webhooks import webhooks

SLOW_MS = 200


@dataclass(frozen=True, slots=True)
class Sizes:
    rush: int  # checkouts
    reference_rush: int
    lone: int
    reads: int
    webhooks: int  # events, twice
    visits: int  # paid checkouts
    reference_visits: int
    flash: int  # buyers
    repeats: int  # of the saturation figures, alternating with the references
    slow_processes: int  # of the chain's worker, with the slow gateway


STANDARD = Sizes(
    rush=2000, reference_rush=400, lone=100, reads=6000, webhooks=2000, visits=600,
    reference_visits=160, flash=2000, repeats=3, slow_processes=16,
)  # fmt: skip
QUICK = Sizes(
    rush=500, reference_rush=150, lone=30, reads=2000, webhooks=500, visits=150,
    reference_visits=64, flash=500, repeats=1, slow_processes=16,
)  # fmt: skip
TINY = Sizes(
    rush=20, reference_rush=20, lone=3, reads=40, webhooks=20, visits=16, reference_visits=16,
    flash=120, repeats=1, slow_processes=2,
)  # fmt: skip
SIZES = {"standard": STANDARD, "quick": QUICK, "tiny": TINY}


@dataclass(frozen=True, slots=True)
class Measurement:
    ours: Callable[[Pakka, Sizes], Raw]
    beside: tuple[Kind, ...] = ()
    theirs: Callable[[ReferenceShop, Sizes], Raw] | None = None
    repeated: bool = False
    is_slow: bool = False  # with the slow gateway
    payable: Callable[[Sizes], int] = lambda _sizes: 0  # payable checkouts needed before


MEASUREMENTS: dict[str, Measurement] = {
    "rush": Measurement(
        lambda shop, sizes: rush(shop, count=sizes.rush, delay_ms=0),
        (INSIDE_REQUEST, CHAIN, CHAIN_REUSING),
        lambda shop, sizes: rush(shop, count=sizes.reference_rush, delay_ms=0),
        repeated=True,
    ),
    "rush-200": Measurement(
        lambda shop, sizes: rush(shop, count=sizes.rush, delay_ms=SLOW_MS),
        (INSIDE_REQUEST, CHAIN, CHAIN_REUSING),
        lambda shop, sizes: rush(shop, count=sizes.reference_rush, delay_ms=SLOW_MS),
        is_slow=True,
    ),
    "lone": Measurement(
        lambda shop, sizes: lone(shop, count=sizes.lone, delay_ms=0),
        (INSIDE_REQUEST, CHAIN, CHAIN_REUSING),
        lambda shop, sizes: lone(shop, count=sizes.lone, delay_ms=0),
    ),
    "lone-200": Measurement(lambda shop, sizes: lone(shop, count=sizes.lone, delay_ms=SLOW_MS)),
    "reads": Measurement(
        lambda shop, sizes: reads(shop, count=sizes.reads),
        payable=lambda sizes: min(sizes.reads, sizes.rush),
    ),
    "webhooks": Measurement(
        lambda shop, sizes: webhooks(shop, count=sizes.webhooks),
        payable=lambda sizes: 2 * sizes.webhooks,
    ),
    "visits": Measurement(
        lambda shop, sizes: visits(shop, count=sizes.visits, delay_ms=0),
        (INSIDE_REQUEST, CHAIN, CHAIN_REUSING),
        lambda shop, sizes: visits(shop, count=sizes.reference_visits, delay_ms=0),
    ),
    "visits-200": Measurement(
        lambda shop, sizes: visits(shop, count=sizes.visits, delay_ms=SLOW_MS),
        (INSIDE_REQUEST, CHAIN, CHAIN_REUSING),
        lambda shop, sizes: visits(shop, count=sizes.reference_visits, delay_ms=SLOW_MS),
        is_slow=True,
    ),
    "flash": Measurement(
        lambda shop, sizes: flash(shop, buyers=sizes.flash),
        (INSIDE_REQUEST,),
        lambda shop, sizes: flash(shop, buyers=sizes.flash),
    ),
}


def measure(name: str, shop: Pakka, sizes: Sizes) -> Raw:
    """One measurement of Pakka, on vacuumed tables and with the payable checkouts it needs."""
    prepare(name, shop, sizes)
    return MEASUREMENTS[name].ours(shop, sizes)


def prepare(name: str, shop: Pakka, sizes: Sizes) -> None:
    """Make the payable checkouts that are missing, and vacuum the tables."""
    if (missing := MEASUREMENTS[name].payable(sizes) - len(shop.payable)) > 0:
        rush(shop, count=missing, delay_ms=0)
    shop.prepare_tables()


def measure_reference(measurement: Measurement, shop: ReferenceShop, sizes: Sizes) -> Raw:
    assert measurement.theirs is not None
    rush(shop, count=20, delay_ms=0)  # every process has imported its modules
    shop.prepare_tables()
    return measurement.theirs(shop, sizes)


def warm_up(shop: Pakka, sizes: Sizes) -> None:
    """Make every process import its modules and open its connections."""
    rush(shop, count=max(40, sizes.rush // 10), delay_ms=0)


def beside(names: Sequence[str], sizes: Sizes) -> dict[Kind, list[str]]:
    """{reference: measurements}, so that each reference is started once."""
    found: dict[Kind, list[str]] = {}
    for name in names:
        measurement = MEASUREMENTS[name]
        for kind in measurement.beside:
            is_widened = measurement.is_slow and kind.worker_processes
            processes = sizes.slow_processes if is_widened else kind.worker_processes
            found.setdefault(replace(kind, worker_processes=processes), []).append(name)
    return found
