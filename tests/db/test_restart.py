"""Workers that stopped taking tasks are asked to start anew, by who may, through Redis."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator

import pytest
from django.contrib.auth.models import Group
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from redis import Redis

from shop import roles
from shop.accounts import User
from shop.addresses import REPOSITORY
from shop.db import redis_client
from shop.operations.audit_log import ActionRefused, ActionRequest, AuditEntry
from shop.ops import current
from shop.telemetry import heartbeats
from tasks import control
from tasks.registry import QUEUES
from tests.support.buyers import until
from workers import procfile
from workers.stack.services import Services

pytestmark = pytest.mark.django_db

TOLD = "*pidbox"  # where workers hear what they are asked
PATIENCE_SECONDS = 60


@pytest.fixture
def heard(redis: Redis) -> Iterator[Callable[[], int]]:
    """How many things workers were asked since then."""
    with redis.pubsub() as channel:
        channel.psubscribe(TOLD)
        assert channel.get_message(timeout=PATIENCE_SECONDS)["type"] == "psubscribe"
        yield lambda: sum(1 for _ in iter(lambda: channel.get_message(timeout=0.1), None))


@pytest.fixture
def by(redis, now):
    person = User.objects.create_superuser("asha@example.com", "x")
    return ActionRequest(person.pk, "nothing moves", now)


def sign_in(client: Client, role: str) -> Client:
    person = User.objects.create(email=f"{role}@example.com", is_staff=True)
    person.groups.add(Group.objects.get(name=role))
    client.force_login(person)
    return client


def press(client: Client, name: str = "canary.gateway", reason: str = "nothing moves"):
    url = reverse("admin:shop_heartbeat_action", args=[name, "restart"])
    return client.post(url, {"reason": reason, "key": str(uuid.uuid4())}, follow=True)


def page_of(client: Client, name: str) -> str:
    return client.get(reverse("admin:shop_heartbeat_change", args=[name])).content.decode()


# --- who may, and why ----------------------------------------------------------------------------


def test_a_viewer_sees_and_asks_nobody(client, heard, now):
    heartbeats.beat("canary.gateway", now=now)
    viewer = sign_in(client, roles.VIEWER)

    assert "/action/" not in page_of(viewer, "canary.gateway")
    assert press(viewer).status_code == 403

    assert heard() == 0
    assert not AuditEntry.objects.exists()


def test_without_a_reason_nobody_is_asked(client, heard, now):
    heartbeats.beat("canary.gateway", now=now)

    answer = press(sign_in(client, roles.OPERATOR), reason="  ")

    assert answer.context["form"].errors["reason"]
    assert heard() == 0
    assert not AuditEntry.objects.exists()


def test_that_no_worker_answered_is_said_and_written_down(client, heard, now):
    heartbeats.beat("canary.gateway", now=now)

    answer = press(sign_in(client, roles.OPERATOR))

    entry = AuditEntry.objects.get()
    assert (entry.action, entry.subject) == ("restart", "workers of gateway")
    assert entry.outcome == "no worker answered: restart the process by hand"
    assert entry.outcome in answer.content.decode()
    assert heard() == 1  # who is there; nobody was told to end


# --- what the page says --------------------------------------------------------------------------


def test_the_list_says_who_is_late(client, now):
    heartbeats.beat("canary.gateway", now=now)
    client.force_login(User.objects.create_superuser("root@example.com", "x"))

    page = client.get(reverse("admin:shop_heartbeat_changelist")).content.decode()

    assert "pill-late" in page
    assert "days ago" in page or " h ago" in page


def test_a_queue_that_was_never_heard_of_has_its_page(client):
    operator = sign_in(client, roles.OPERATOR)

    for name in (it["name"] for it in current.heartbeat_rows(now=timezone.now())):
        assert "never" in page_of(operator, name)
    assert operator.get(reverse("admin:shop_heartbeat_change", args=["x"])).status_code == 302


def test_the_sweeper_has_no_button_but_a_sentence(client, heard, now):
    heartbeats.beat(heartbeats.SWEEPER, now=now)
    operator = sign_in(client, roles.OPERATOR)

    page = page_of(operator, heartbeats.SWEEPER)
    answer = press(operator, heartbeats.SWEEPER)

    assert "docs/operations.md#sweeper-silent" in page
    assert "/action/" not in page
    assert "restart the process by hand" in answer.content.decode()
    assert heard() == 0
    assert not AuditEntry.objects.exists()


# --- who is asked --------------------------------------------------------------------------------


@pytest.fixture
def worker(services: Services, redis: Redis) -> Iterator[subprocess.Popen[bytes]]:
    """One that takes from `gateway` under a name that the Procfile does not have."""
    command = "-A tasks worker -n extra@here -Q gateway -P solo --without-gossip --without-mingle"
    process = subprocess.Popen(
        [sys.executable, "-m", "celery", *command.split()],
        cwd=REPOSITORY,
        env=os.environ
        | {"ROLE": "worker", "DATABASE_URL": services.database_url}
        | {"REDIS_URL": services.redis_url},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    until(lambda: redis.pubsub_numpat() + len(redis.pubsub_channels(TOLD)) > 0)
    yield process
    process.kill()
    process.wait()


def test_a_worker_of_any_name_that_takes_from_the_queue_is_asked(worker, by):
    entry = control.restart("gateway", by=by)

    assert entry.outcome == "asked extra@here to restart"
    assert worker.wait(PATIENCE_SECONDS) == 0


def test_the_workers_of_other_queues_are_left_alone(worker, by):
    entry = control.restart("webhooks", by=by)

    assert entry.outcome.startswith("no worker answered")
    assert worker.poll() is None


def test_the_workers_of_each_queue_are_those_of_the_procfile():
    for queue in QUEUES:
        command = procfile.commands()[control.WORKERS[queue]]
        [taken] = [words.split()[0] for words in command.split(" -Q ")[1:]]
        assert queue in taken.split(",")
        assert f" -n {control.WORKERS[queue]}@%h " in command


@pytest.mark.parametrize("away", ["kill", "freeze"])
def test_with_redis_away_nothing_is_written_down(away, services, redis, by):
    getattr(services.redis, away)()
    try:
        with pytest.raises(ActionRefused, match="Redis is away"):
            control.restart("gateway", by=by)
    finally:
        services.redis.start() if away == "kill" else services.redis.thaw()
        redis_client.try_again()

    assert not AuditEntry.objects.exists()
