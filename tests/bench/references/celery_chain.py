"""A plain Celery chain of three tasks, results in Redis: the POST saves the order and starts it."""

from __future__ import annotations

from celery import chain
from django.db import transaction
from django.urls import path
from rest_framework.decorators import api_view
from rest_framework.request import Request
from rest_framework.response import Response

from tests.bench.references import tasks, views


@api_view(["POST"])
def create_from_cart(request: Request) -> Response:
    order = views.new_order(request)
    with transaction.atomic():
        order.save()
        steps = chain(
            tasks.validate_cart.s(str(order.pk)),
            tasks.create_order.s(),
            tasks.create_gateway_order.s(),
        )
        transaction.on_commit(steps.delay)
    return Response(order.as_json, status=202)


urlpatterns = [*views.urlpatterns, path("api/payments/create-from-cart/", create_from_cart)]
