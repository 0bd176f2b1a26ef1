"""Migrations beside a running shop: they take their time, and hold nobody up."""

from collections.abc import Callable, Iterator

import psycopg
import pytest
from django.core.management import call_command
from django.db import connection

pytestmark = pytest.mark.django_db(transaction=True)

INDEX = "shop_cartitem_cart_id_6bf1447e"  # dropped by 0011
Limits = tuple[str, str]


def limits() -> Limits:
    """How long a statement may take here, and how long it may wait for a lock."""
    connection.ensure_connection()
    row = connection.connection.execute(
        "SELECT current_setting('statement_timeout'), current_setting('lock_timeout')"
    ).fetchone()
    return (row[0], row[1])


@pytest.fixture
def limits_of(monkeypatch) -> dict[str, Limits]:
    """Under which limits each statement ran at last, by its first two words."""
    seen: dict[str, Limits] = {}
    cursor = connection.make_cursor

    def watched(raw):
        made = cursor(raw)
        execute = made._execute

        def note(sql, params, *ignored):
            seen[" ".join(str(sql).split()[:3])] = limits()
            return execute(sql, params, *ignored)

        made._execute = note
        return made

    monkeypatch.setattr(connection, "make_cursor", watched)
    return seen


@pytest.fixture
def reverse_0011() -> Iterator[Callable[[], None]]:
    """Back to the migration before; the newest again afterwards."""
    yield lambda: call_command("migrate", "shop", "0010", verbosity=0)
    with connection.cursor() as cursor:
        cursor.execute(f"DROP INDEX IF EXISTS {INDEX}")
    call_command("migrate", verbosity=0)


def test_an_index_is_built_and_dropped_however_long_it_takes(limits_of, reverse_0011):
    reverse_0011()
    assert limits_of["CREATE INDEX CONCURRENTLY"] == ("0", "0")

    call_command("migrate", verbosity=0)
    assert limits_of["DROP INDEX CONCURRENTLY"] == ("0", "0")


def test_no_buyer_waits_long_for_what_waits_for_a_table(limits_of, reverse_0011):
    reverse_0011()

    assert limits_of['DELETE FROM "django_migrations"'] == ("0", "3s")


def test_the_connection_has_its_limits_afterwards(reverse_0011):
    before = limits()

    reverse_0011()

    assert limits() == before == ("15s", "3s")


def test_an_index_that_a_cancelled_try_left_invalid_is_built_anew(reverse_0011, services):
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE INDEX {INDEX} ON shop_cartitem (cart_id)")
    database = connection.settings_dict["NAME"]
    with psycopg.connect(services.superuser_url, dbname=database) as superuser:
        superuser.execute(
            "UPDATE pg_index SET indisvalid = false WHERE indexrelid = %s::regclass", [INDEX]
        )

    reverse_0011()

    with connection.cursor() as cursor:
        cursor.execute("SELECT indisvalid FROM pg_index WHERE indexrelid = %s::regclass", [INDEX])
        assert cursor.fetchone() == (True,)
