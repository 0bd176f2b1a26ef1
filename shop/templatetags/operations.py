"""How operations' pages write money, times and states."""

from __future__ import annotations

from django import template
from django.conf import settings

from shop.admin.widgets import pill, took
from shop.money import format_amount

register = template.Library()
register.filter("amount", format_amount)
register.filter("pill", pill)
register.filter("took", took)


@register.simple_tag
def flower_url() -> str:
    return str(settings.FLOWER_URL)
