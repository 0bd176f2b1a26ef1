"""Which background processes are alive: the sweeper, and the workers of each queue."""

from __future__ import annotations

from datetime import timedelta

from django.contrib import admin
from django.http import HttpRequest
from django.utils import timezone
from django.utils.safestring import SafeString

from shop.admin.widgets import Listing, ReadOnly, badge
from shop.operations.durations import format_duration
from shop.telemetry import heartbeats
from shop.telemetry.heartbeats import OF_PROCESS, Heartbeat

PROCESSES = {name: process for process, names in OF_PROCESS.items() for name in names}


@admin.register(Heartbeat)
class HeartbeatAdmin(ReadOnly, Listing):
    list_display = ("name", "age", "status", "at")
    ordering = ("name",)
    fields = ("name", "age", "status", "at", "what_to_do")
    readonly_fields = ("age", "status", "what_to_do")

    def get_object(
        self, request: HttpRequest, object_id: str, from_field: str | None = None
    ) -> Heartbeat | None:
        """Also a process that never reported: it has a page, but no row yet."""
        found = super().get_object(request, object_id, from_field)
        return Heartbeat(name=object_id) if found is None and object_id in PROCESSES else found

    @admin.display(description="last heartbeat")
    def age(self, heartbeat: Heartbeat) -> str:
        age = _age(heartbeat)
        return "never" if age is None else f"{format_duration(age)} ago"

    @admin.display(description="status")
    def status(self, heartbeat: Heartbeat) -> SafeString:
        return badge("late" if heartbeats.is_late(heartbeat.name, _age(heartbeat)) else "ok")

    @admin.display(description="what to do when it is late")
    def what_to_do(self, heartbeat: Heartbeat) -> str:
        process = PROCESSES.get(heartbeat.name)
        if process is None:
            return "No process of this version sends this heartbeat. There is nothing to do."
        if not heartbeat.queue:
            return (
                f'Restart the process "{process}" on its machine.'
                " See docs/operations.md#sweeper-silent."
            )
        return (
            f'Restart the process "{process}", which works on the queue "{heartbeat.queue}", on its'
            " machine. No checkout is lost: waiting work goes on when the process is back."
            " See docs/operations.md#queue-not-worked-on."
        )


def _age(heartbeat: Heartbeat) -> timedelta | None:
    return timezone.now() - heartbeat.at if heartbeat.at else None
