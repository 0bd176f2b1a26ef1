"""The operations page, and its figures as JSON and CSV. Staff only, read only."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps

from django.conf import settings
from django.contrib import admin
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_safe

from shop.api.errors import UNAVAILABLE_MESSAGE, UNAVAILABLE_RETRY_SECONDS, json_error
from shop.ops import cache, ranges
from shop.ops.export import EXPORTS
from shop.ops.ranges import BadRange
from shop.ops.rows import Row

View = Callable[..., HttpResponse]


def _staff_only(view: View) -> View:
    """Staff only. Anonymous users are sent to the login page; other users get 403."""

    @wraps(view)
    def guarded(request: HttpRequest, **named: str) -> HttpResponse:
        if request.user.is_active and request.user.is_staff:
            return view(request, **named)
        if request.user.is_authenticated:
            raise PermissionDenied
        return redirect_to_login(request.get_full_path(), reverse("admin:login"))

    return require_safe(guarded)


@_staff_only
def page(request: HttpRequest) -> HttpResponse:
    """A page without figures: its script loads them every few seconds."""
    return render(
        request,
        "shop/ops.html",
        {
            **admin.site.each_context(request),
            "title": "Operations",
            "is_nav_sidebar_enabled": False,
            "ranges": list(ranges.SPANS),
            "time_zone": settings.TIME_ZONE,
        },
    )


@require_safe
def data(request: HttpRequest) -> HttpResponse:
    """All figures of a range as JSON. Answers 401, not a redirect, because a script reads it."""
    if not (request.user.is_active and request.user.is_staff):
        return json_error(401, "sign_in", "Please sign in again.")
    return _figures(request, JsonResponse)


@require_safe
def session(request: HttpRequest) -> HttpResponse:
    """204 for staff, else 401. The proxy asks this before it opens Flower or Grafana."""
    if not (request.user.is_active and request.user.is_staff):
        return json_error(401, "sign_in", "Please sign in again.")
    return HttpResponse(status=204, headers={"Cache-Control": "no-store"})


@_staff_only
def table(request: HttpRequest, *, name: str) -> HttpResponse:
    """One table of the page as CSV."""
    if name not in EXPORTS:
        raise Http404
    return _figures(request, lambda found: _csv(name, found))


def _csv(name: str, found: Row) -> HttpResponse:
    response = HttpResponse(EXPORTS[name](found), content_type="text/csv; charset=utf-8")
    until = timezone.localtime(found["span"]["until"])
    response["Content-Disposition"] = f'attachment; filename="{name}-{until:%Y%m%d-%H%M}.csv"'
    return response


def _figures(request: HttpRequest, show: Callable[[Row], HttpResponse]) -> HttpResponse:
    now = timezone.now()
    try:
        response = show(cache.read(ranges.read(request.GET.dict(), now=now), now=now))
    except BadRange as error:
        return json_error(400, "bad_range", str(error))
    except (OperationalError, InterfaceError):
        return json_error(
            503, "unavailable", UNAVAILABLE_MESSAGE, retry_after_seconds=UNAVAILABLE_RETRY_SECONDS
        )
    response["Cache-Control"] = "no-store"
    return response
