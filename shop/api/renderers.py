"""JSON rendering. It has its own module because DRF imports renderers before views."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from rest_framework.renderers import JSONRenderer
from rest_framework.utils.encoders import JSONEncoder

# UTC times end in Z, as in DRF.
_OPTIONS = orjson.OPT_UTC_Z
_default = JSONEncoder().default


def to_json(data: Any) -> bytes:
    """The JSON that DRF's renderer would write, in a fraction of the time."""
    return orjson.dumps(data, default=_default, option=_OPTIONS)


class OrjsonRenderer(JSONRenderer):
    """DRF's JSONRenderer is slower than orjson (measured in docs/decisions/speed.md)."""

    def render(
        self,
        data: Any,
        accepted_media_type: str | None = None,
        renderer_context: Mapping[str, Any] | None = None,
    ) -> bytes:
        return b"" if data is None else to_json(data)
