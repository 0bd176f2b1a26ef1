"""Who was heard of, and when: the sweeper, and a task through each queue."""

from __future__ import annotations

from datetime import timedelta

from django.contrib import admin
from django.http import HttpRequest
from django.utils import timezone
from django.utils.safestring import SafeString

from shop import roles
from shop.admin.actions import ActionMixin, StaffAction
from shop.admin.widgets import Listing, ReadOnly, pill, took
from shop.telemetry import heartbeats
from shop.telemetry.heartbeats import Heartbeat
from tasks.control import WORKERS, restart
from tasks.registry import QUEUES

KNOWN = (heartbeats.SWEEPER, *(heartbeats.CANARY + queue for queue in QUEUES))


@admin.register(Heartbeat)
class HeartbeatAdmin(ReadOnly, ActionMixin, Listing):
    list_display = ("name", "age", "standing", "at")
    ordering = ("name",)
    fields = ("name", "age", "standing", "at", "what_to_do")
    readonly_fields = ("age", "standing", "what_to_do")
    staff_actions = (
        StaffAction(
            "restart",
            "Restart its workers",
            "The workers of this queue finish what they are at, end, and are started again by"
            " whatever runs them. What waits goes on by itself; nothing is lost.",
            roles.OPERATE,
            lambda sign: sign.queue != "",
            lambda sign, by, _: restart(sign.queue, by=by),
        ),
    )

    def get_object(
        self, request: HttpRequest, object_id: str, from_field: str | None = None
    ) -> Heartbeat | None:
        """Also who was never heard of: a worker that never came up has no row."""
        found = super().get_object(request, object_id, from_field)
        return Heartbeat(name=object_id) if found is None and object_id in KNOWN else found

    @admin.display(description="last heard of")
    def age(self, sign: Heartbeat) -> str:
        pause = _age(sign)
        return "never" if pause is None else f"{took(pause)} ago"

    @admin.display(description="standing")
    def standing(self, sign: Heartbeat) -> SafeString:
        return pill("late" if heartbeats.is_late(sign.name, _age(sign)) else "in_time")

    @admin.display(description="what to do when it is late")
    def what_to_do(self, sign: Heartbeat) -> str:
        if not sign.queue:
            return (
                "The sweeper is a plain process, which nobody can ask: start it again where it"
                " runs. See docs/operations.md#sweeper-silent."
            )
        worker = f'the process "{WORKERS[sign.queue]}"' if sign.queue in WORKERS else "no process"
        return (
            f'No task comes to its end in the queue "{sign.queue}", on which {worker} works. Press'
            ' "Restart its workers"; if none answers, start the process again where it runs.'
            " See docs/operations.md#queue-not-worked-on."
        )


def _age(sign: Heartbeat) -> timedelta | None:
    return timezone.now() - sign.at if sign.at else None
