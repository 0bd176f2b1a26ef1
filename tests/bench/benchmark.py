"""One run of the benchmark: the order of measurements, with the reference shops in between."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence

from tests.bench import plan, reference_shops
from tests.bench.figures import Raw
from tests.bench.pakka import Pakka
from tests.bench.plan import MEASUREMENTS, Sizes
from tests.bench.reference_shops import Kind
from tests.bench.report import OURS

Tell = Callable[[str], None]


class Benchmark:
    """`runs` has the results: {shop: {measurement: its runs}}."""

    def __init__(self, shop: Pakka, sizes: Sizes, *, tell: Tell) -> None:
        self.shop = shop
        self.sizes = sizes
        self.runs: dict[str, dict[str, list[Raw]]] = defaultdict(lambda: defaultdict(list))
        self._tell = tell

    def run(self, names: Sequence[str], *, references: bool) -> None:
        """Run every measurement. Repeated ones alternate with the references, under equal noise."""
        for turn in range(self.sizes.repeats):
            plan.warm_up(self.shop, self.sizes)
            due = [name for name in names if turn == 0 or MEASUREMENTS[name].repeated]
            for name in due:
                self._ours(name)
            if references:
                for kind, compared in plan.beside(due, self.sizes).items():
                    self._theirs(kind, compared)

    def _ours(self, name: str) -> None:
        self._tell(f"{OURS}: {name} ...")
        self.runs[OURS][name].append(plan.measure(name, self.shop, self.sizes))

    def _theirs(self, kind: Kind, names: Sequence[str]) -> None:
        with reference_shops.running(kind, self.shop) as reference:
            for name in names:
                self._tell(f"{kind.name}: {name} ...")
                found = plan.measure_reference(MEASUREMENTS[name], reference, self.sizes)
                self.runs[kind.name][name].append(found)
