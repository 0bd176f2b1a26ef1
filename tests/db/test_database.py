"""A kept connection is asked whether it lives: not each time, but not believed for long either."""

import pytest
from django.db import OperationalError, connection, transaction
from django.utils import timezone

from shop.db.backend import base
from shop.telemetry.heartbeats import Heartbeat

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def checks(monkeypatch):
    """How often a connection was asked."""
    asked = []
    is_usable = base.DatabaseWrapper.is_usable
    monkeypatch.setattr(
        base.DatabaseWrapper, "is_usable", lambda self: asked.append(1) or is_usable(self)
    )
    connection.close()
    connection.ensure_connection()
    connection.health_check_enabled = True
    return asked


def a_request_begins_and_reads() -> None:
    connection.health_check_done = False
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")


def test_one_that_answered_a_moment_ago_is_taken_at_its_word(checks):
    for _ in range(3):
        a_request_begins_and_reads()

    assert not checks


def test_one_that_rested_is_asked_first(checks):
    a_request_begins_and_reads()
    connection._answered_at -= base.TRUSTED_SECONDS

    a_request_begins_and_reads()

    assert len(checks) == 1


def test_one_that_broke_fails_one_request_and_is_replaced_for_the_next(checks):
    a_request_begins_and_reads()
    connection.connection.close()  # as a restart of Postgres leaves it

    with pytest.raises(OperationalError):
        a_request_begins_and_reads()
    connection.close_if_unusable_or_obsolete()  # as Django does when a request ends

    a_request_begins_and_reads()


def test_a_commit_that_takes_its_time_is_a_commit(checks):
    """Asked between COMMIT and the end of the block, `SELECT 1` would open a transaction anew."""
    a_request_begins_and_reads()
    connection.health_check_done = False

    with transaction.atomic():
        Heartbeat.objects.create(name="slow", at=timezone.now())
        connection._answered_at -= base.TRUSTED_SECONDS  # so long ago, when the block ends

    assert Heartbeat.objects.get().name == "slow"
