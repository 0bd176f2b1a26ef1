"""Filters for amounts, durations and states on the pages of staff."""

from __future__ import annotations

from django import template
from django.conf import settings

from shop.admin.widgets import badge
from shop.money import format_amount
from shop.operations.durations import format_duration

register = template.Library()
register.filter("amount", format_amount)
register.filter("badge", badge)
register.filter("duration", format_duration)


@register.simple_tag
def flower_url() -> str:
    return str(settings.FLOWER_URL)
