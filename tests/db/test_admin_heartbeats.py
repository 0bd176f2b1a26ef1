"""The admin's page of heartbeats: which process is late, and what to do then."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import Group
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from shop import roles
from shop.accounts import User
from shop.ops import current
from shop.telemetry import heartbeats
from tasks.registry import QUEUES
from workers import procfile

pytestmark = pytest.mark.django_db


@pytest.fixture
def operator(client: Client) -> Client:
    person = User.objects.create(email="operator@example.com", is_staff=True)
    person.groups.add(Group.objects.get(name=roles.OPERATOR))
    client.force_login(person)
    return client


def page_of(client: Client, name: str) -> str:
    return client.get(reverse("admin:shop_heartbeat_change", args=[name])).content.decode()


def test_the_list_shows_which_heartbeat_is_late(operator, now):
    heartbeats.beat("canary.gateway", now=now)

    page = operator.get(reverse("admin:shop_heartbeat_changelist")).content.decode()

    assert "badge-late" in page
    assert "days ago" in page or " h ago" in page


def test_a_process_that_never_reported_has_a_page(operator):
    for name in (row["name"] for row in current.heartbeat_rows(now=timezone.now())):
        assert "never" in page_of(operator, name)
    assert operator.get(reverse("admin:shop_heartbeat_change", args=["x"])).status_code == 302


def test_the_page_of_the_sweeper_names_its_process_and_runbook(operator, now):
    heartbeats.beat(heartbeats.SWEEPER, now=now)

    page = page_of(operator, heartbeats.SWEEPER)

    assert "&quot;sweeper&quot;" in page
    assert "docs/operations.md#sweeper-silent" in page


@pytest.mark.parametrize("queue", QUEUES)
def test_the_page_of_a_queue_names_the_process_that_takes_from_it(queue, operator, now):
    heartbeats.beat(heartbeats.CANARY + queue, now=now)

    page = page_of(operator, heartbeats.CANARY + queue)

    [process] = [
        name
        for name, command in procfile.commands().items()
        for words in command.split(" -Q ")[1:]
        if queue in words.split()[0].split(",")
    ]
    assert f"the process &quot;{process}&quot;" in page
    assert "docs/operations.md#queue-not-worked-on" in page
