"""How answers are written. Apart from the views, because DRF imports renderers before them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from rest_framework.renderers import JSONRenderer
from rest_framework.utils.encoders import JSONEncoder

# Times in UTC end in Z, as DRF writes them.
_OPTIONS = orjson.OPT_UTC_Z
_default = JSONEncoder().default


def to_json(data: Any) -> bytes:
    """What DRF's own renderer writes, in a fraction of the time."""
    return orjson.dumps(data, default=_default, option=_OPTIONS)


class OrjsonRenderer(JSONRenderer):
    def render(
        self,
        data: Any,
        accepted_media_type: str | None = None,
        renderer_context: Mapping[str, Any] | None = None,
    ) -> bytes:
        return b"" if data is None else to_json(data)
