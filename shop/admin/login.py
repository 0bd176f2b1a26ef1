"""Signing in to the admin, at the pace of the shop's own: for each address, for each account."""

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
    """429 with `Retry-After` for who tries too often, before the password is looked at."""
    if request.method != "POST":
        return admin.site.login(request)
    email = request.POST.get("username", "")
    seconds = throttling.count_call("sign_in", {throttling.address_of(request): 1})
    seconds = seconds or login_throttle.count_attempt(email, request)
    if seconds:
        return _too_often(request, seconds)
    response = admin.site.login(request)
    if response.status_code == 302:  # a wrong password gets the form again
        login_throttle.succeeded(email, request)
    return response


def _too_often(request: HttpRequest, seconds: float) -> HttpResponse:
    context = {
        **admin.site.each_context(request),
        "title": "Too many tries",
        "minutes": math.ceil(seconds / MINUTE_SECONDS),
    }
    response = render(request, "admin/too_often.html", context, status=429)
    response["Retry-After"] = str(math.ceil(seconds))
    return response
