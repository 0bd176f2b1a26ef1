"""The routes of the control API: functions of one `Command`, found by verb and path."""

import dataclasses
from collections.abc import Callable
from typing import Any

from workers.standin.json_fields import BadSetting
from workers.standin.routing import Router
from workers.standin.standin import Standin


class NotFound(Exception):
    """The path or body names something that does not exist: 404."""


@dataclasses.dataclass(frozen=True, slots=True)
class Command:
    """One request to the control API."""

    standin: Standin
    ids: tuple[str, ...]
    query: dict[str, str]
    content: Any  # the JSON of the body; `{}` if it is empty

    @property
    def body(self) -> dict[str, Any]:
        """The JSON object of the body. :raises BadSetting: it is something else."""
        if not isinstance(self.content, dict):
            raise BadSetting("the body must be a JSON object")
        return self.content

    def find(self, known: dict[str, Any], wanted: str | None = None) -> Any:
        """`known[wanted]`; `wanted` is by default the first id in the path. :raises NotFound:"""
        wanted = self.ids[0] if wanted is None else wanted
        if wanted not in known:
            raise NotFound(f"{wanted} is not known here")
        return known[wanted]

    def checked_body(self, *fields: str) -> dict[str, Any]:
        """The body. :raises BadSetting: it has a field that is not in `fields`."""
        if unknown := set(self.body) - set(fields):
            raise BadSetting(f"{', '.join(sorted(unknown))}: there is no such field")
        return self.body


CONTROL: Router[Callable[[Command], Any]] = Router()
command = CONTROL.route
