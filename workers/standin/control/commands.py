"""What a control route is: a function of one command, found by verb and path."""

import dataclasses
from collections.abc import Callable
from typing import Any

from workers.standin.routing import Router
from workers.standin.standin import Standin
from workers.standin.switches import BadSetting


class NotThere(Exception):
    """The thing named in the path or body does not exist: 404."""


@dataclasses.dataclass(frozen=True, slots=True)
class Command:
    """One request to the control API."""

    standin: Standin
    ids: tuple[str, ...]
    query: dict[str, str]
    content: Any  # the JSON sent, `{}` if nothing was

    @property
    def body(self) -> dict[str, Any]:
        """:raises BadSetting: what was sent is not a JSON object."""
        if not isinstance(self.content, dict):
            raise BadSetting("the body must be a JSON object")
        return self.content

    def found(self, known: dict[str, Any], wanted: str | None = None) -> Any:
        """`known[wanted]`, by default for the first id in the path. :raises NotThere:"""
        wanted = self.ids[0] if wanted is None else wanted
        if wanted not in known:
            raise NotThere(f"{wanted} is not known here")
        return known[wanted]

    def only(self, *fields: str) -> dict[str, Any]:
        """The body. :raises BadSetting: it has a field that is not among `fields`."""
        if unknown := set(self.body) - set(fields):
            raise BadSetting(f"{', '.join(sorted(unknown))}: there is no such field")
        return self.body


CONTROL: Router[Callable[[Command], Any]] = Router()
command = CONTROL.route
