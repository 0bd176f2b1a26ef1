"""The OpenAPI schema and its pages: open to everybody, so cached and throttled."""

from __future__ import annotations

from functools import cache

from django.http import HttpResponse
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.renderers import OpenApiJsonRenderer
from drf_spectacular.views import SpectacularJSONAPIView, SpectacularSwaggerSplitView
from rest_framework.request import Request

from shop.api.throttling import Throttle

CACHE_SECONDS = 300  # in browsers and proxies: the schema changes only with a release


@cache
def rendered() -> bytes:
    """The schema as JSON. Rendering takes 70 ms or more, so each process does it once."""
    schema = SchemaGenerator().get_schema(request=None, public=True)  # type: ignore[no-untyped-call]
    return OpenApiJsonRenderer().render(schema, renderer_context={})


class Schema(SpectacularJSONAPIView):
    throttle_classes = (Throttle,)
    throttle_scope = "docs"

    def _get_schema_response(self, _request: Request) -> HttpResponse:
        return HttpResponse(
            rendered(),
            content_type=OpenApiJsonRenderer.media_type,
            headers={"Cache-Control": f"public, max-age={CACHE_SECONDS}"},
        )


class Docs(SpectacularSwaggerSplitView):
    throttle_classes = (Throttle,)
    throttle_scope = "docs"
