"""`manage.py migrate` beside a running shop: no statement is cancelled, and no buyer waits long."""

from collections.abc import Callable, Iterator

import psycopg
import pytest
from django.core.management import call_command
from django.db import connection

pytestmark = pytest.mark.django_db(transaction=True)

INDEX = "shop_cart_by_version"  # built by tests/support/migrations/0002_cart_by_version.py
Limits = tuple[str, str]


def limits() -> Limits:
    """The `statement_timeout` and the `lock_timeout` of the connection."""
    connection.ensure_connection()
    row = connection.connection.execute(
        "SELECT current_setting('statement_timeout'), current_setting('lock_timeout')"
    ).fetchone()
    return (row[0], row[1])


@pytest.fixture
def limits_of(monkeypatch) -> dict[str, Limits]:
    """The limits of the latest statement that began with these three words."""
    seen: dict[str, Limits] = {}
    cursor = connection.make_cursor

    def make_recording(raw):
        made = cursor(raw)
        execute = made._execute

        def record(sql, params, *ignored):
            seen[" ".join(str(sql).split()[:3])] = limits()
            return execute(sql, params, *ignored)

        made._execute = record
        return made

    monkeypatch.setattr(connection, "make_cursor", make_recording)
    return seen


@pytest.fixture
def migrate_to(settings) -> Iterator[Callable[[str], None]]:
    """Migrate to 0001 or 0002 of `tests/support/migrations`; undone after the test."""
    settings.MIGRATION_MODULES = {"shop": "tests.support.migrations"}
    yield lambda name: call_command("migrate", "shop", name, verbosity=0)
    call_command("migrate", "shop", "0001", verbosity=0)


def test_an_index_is_built_and_dropped_however_long_it_takes(limits_of, migrate_to):
    migrate_to("0002")
    assert limits_of["CREATE INDEX CONCURRENTLY"] == ("0", "0")

    limits_of.clear()
    migrate_to("0001")
    assert limits_of["DROP INDEX CONCURRENTLY"] == ("0", "0")


def test_no_buyer_waits_long_for_a_statement_that_waits_for_a_table(limits_of, migrate_to):
    migrate_to("0002")

    assert limits_of['INSERT INTO "django_migrations"'] == ("0", "3s")


def test_the_connection_has_its_limits_afterwards(migrate_to):
    before = limits()

    migrate_to("0002")

    assert limits() == before == ("15s", "3s")


def test_an_index_that_a_cancelled_build_left_invalid_is_built_again(migrate_to, services):
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE INDEX {INDEX} ON shop_cart (version)")
    database = connection.settings_dict["NAME"]
    with psycopg.connect(services.superuser_url, dbname=database) as superuser:
        superuser.execute(
            "UPDATE pg_index SET indisvalid = false WHERE indexrelid = %s::regclass", [INDEX]
        )

    migrate_to("0002")

    with connection.cursor() as cursor:
        cursor.execute("SELECT indisvalid FROM pg_index WHERE indexrelid = %s::regclass", [INDEX])
        assert cursor.fetchone() == (True,)
