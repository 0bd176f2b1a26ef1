"""Lists of the API: filtered by time, paged by count and skip, newest first, and delayed."""

import dataclasses
import itertools
from collections.abc import Iterable, Mapping
from typing import Protocol, TypeVar

from workers.standin.errors import refusal

EARLIEST, LATEST = 946_684_800, 4_765_046_400
DEFAULT_COUNT, MAX_COUNT = 10, 100


class Dated(Protocol):
    created_at: float


Item = TypeVar("Item", bound=Dated)


@dataclasses.dataclass(frozen=True, slots=True)
class Window:
    """The requested part of a list. Times are epoch seconds, both ends included."""

    count: int
    skip: int
    from_at: int
    to_at: int

    def of(self, newest_first: Iterable[Item], *, visible_until: float) -> list[Item]:
        """The items in this window that are not newer than `visible_until`."""
        visible = (
            item
            for item in newest_first
            if item.created_at <= visible_until
            and self.from_at <= int(item.created_at) <= self.to_at
        )
        return list(itertools.islice(visible, self.skip, self.skip + self.count))


def window(query: Mapping[str, list[str]]) -> Window:
    """:raises ApiError: count, skip, from or to is out of its range."""
    count = _integer(query, "count", DEFAULT_COUNT)
    if count > MAX_COUNT:
        raise refusal("count_too_large")
    if count < 1:
        raise refusal("count_too_small")
    skip = _integer(query, "skip", 0)
    if skip < 0:
        raise refusal("skip_negative")
    return Window(
        count=count,
        skip=skip,
        from_at=_time(query, "from", EARLIEST),
        to_at=_time(query, "to", LATEST),
    )


def _time(query: Mapping[str, list[str]], field: str, default: int) -> int:
    value = _integer(query, field, default)
    if not EARLIEST <= value <= LATEST:
        raise refusal("time_out_of_range", field=field)
    return value


def _integer(query: Mapping[str, list[str]], field: str, default: int) -> int:
    if field not in query:
        return default
    try:
        return int(query[field][-1])
    except ValueError:
        raise refusal("count_not_integer", field=field) from None
