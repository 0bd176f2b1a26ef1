"""Find the function for a verb and a path. Names and ids alternate, so a dict is enough."""

import dataclasses
from collections.abc import Callable
from typing import Any, Generic, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])


class UnknownPath(Exception):
    """No route has this path, whatever the verb."""


class WrongVerb(Exception):
    """The path is known, but not with this verb."""


@dataclasses.dataclass(frozen=True, slots=True)
class Route(Generic[Function]):
    """`name` is used by faults and counters. `exclusive`: one call at a time for each payment."""

    name: str
    function: Function
    exclusive: bool = False


class Router(Generic[Function]):
    """Routes by the shape of their path, such as `payments/{}/refunds`."""

    def __init__(self) -> None:
        self._routes: dict[tuple[str, str], Route[Function]] = {}
        self._shapes: set[str] = set()

    def route(
        self, verb: str, shape: str, name: str = "", *, exclusive: bool = False
    ) -> Callable[[Function], Function]:
        def register(function: Function) -> Function:
            self._routes[verb, shape] = Route(name, function, exclusive)
            self._shapes.add(shape)
            return function

        return register

    def find(self, verb: str, path: str) -> tuple[Route[Function], tuple[str, ...]]:
        """The route for `path`, and the ids in it. :raises UnknownPath, WrongVerb:"""
        parts = path.rstrip("/").split("/")
        ids = tuple(parts[1::2])
        parts[1::2] = ["{}"] * len(ids)
        shape = "/".join(parts)
        if shape not in self._shapes:
            raise UnknownPath(f"{verb} {path}")
        if (verb, shape) not in self._routes:
            raise WrongVerb(f"{verb} {path}")
        return self._routes[verb, shape], ids

    def names(self) -> list[str]:
        return sorted(route.name for route in self._routes.values())
