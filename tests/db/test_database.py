"""The health check of a persistent connection is skipped if the connection answered recently."""

import pytest
from django.db import OperationalError, connection, transaction
from django.utils import timezone

from shop.db.backend import base
from shop.telemetry.heartbeats import Heartbeat

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def checks(monkeypatch):
    """An entry for each check."""
    checked = []
    is_usable = base.DatabaseWrapper.is_usable
    monkeypatch.setattr(
        base.DatabaseWrapper, "is_usable", lambda self: checked.append(1) or is_usable(self)
    )
    connection.close()
    connection.ensure_connection()
    connection.health_check_enabled = True
    return checked


def a_request_begins_and_reads() -> None:
    connection.health_check_done = False
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")


def test_a_connection_that_answered_recently_is_not_checked(checks):
    for _ in range(3):
        a_request_begins_and_reads()

    assert not checks


def test_an_idle_connection_is_checked_first(checks):
    a_request_begins_and_reads()
    connection._answered_at -= base.TRUSTED_SECONDS

    a_request_begins_and_reads()

    assert len(checks) == 1


def test_a_broken_connection_fails_one_request_and_is_replaced_for_the_next(checks):
    a_request_begins_and_reads()
    connection.connection.close()  # as a restart of Postgres leaves it

    with pytest.raises(OperationalError):
        a_request_begins_and_reads()
    connection.close_if_unusable_or_obsolete()  # as Django does when a request ends

    a_request_begins_and_reads()


def test_a_slow_commit_is_a_commit(checks):
    """A `SELECT 1` between COMMIT and the end of the block would open a new transaction."""
    a_request_begins_and_reads()
    connection.health_check_done = False

    with transaction.atomic():
        Heartbeat.objects.create(name="slow", at=timezone.now())
        connection._answered_at -= base.TRUSTED_SECONDS  # the check is due when the block ends

    assert Heartbeat.objects.get().name == "slow"
