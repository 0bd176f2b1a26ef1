"""Sign-in to the admin, with the rate limits of the API: for each address and each account."""

from __future__ import annotations

import math

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache

from shop.api import login_throttle, throttling

MINUTE_SECONDS = 60


@never_cache
def view(request: HttpRequest) -> HttpResponse:
    """Too many attempts get 429 with `Retry-After` before the password is checked."""
    if request.method != "POST":
        return admin.site.login(request)
    email = request.POST.get("username", "")
    seconds = throttling.count_call("sign_in", {throttling.address_of(request): 1})
    seconds = seconds or login_throttle.count_attempt(email, request)
    if seconds:
        return _too_many_attempts(request, seconds)
    response = admin.site.login(request)
    if response.status_code == 302:  # a wrong password gets the form again
        login_throttle.succeeded(email, request)
    return response


def _too_many_attempts(request: HttpRequest, seconds: float) -> HttpResponse:
    context = {
        **admin.site.each_context(request),
        "title": "Too many attempts",
        "minutes": math.ceil(seconds / MINUTE_SECONDS),
    }
    response = render(request, "admin/too_many_attempts.html", context, status=429)
    response["Retry-After"] = str(math.ceil(seconds))
    return response
