"""The roles of the database: the owner has the tables, and the processes only use rows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from django.db import connection

from shop.addresses import APP, OWNER, SUPERUSER, postgres_url
from workers.stack.postgres import ROLES, Postgres

TABLES = """
    SELECT relname, pg_get_userbyid(relowner),
           (SELECT bool_and(has_table_privilege('pakka_app', oid, privilege))
            FROM unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS privilege),
           has_table_privilege('pakka_app', oid, 'TRUNCATE, TRIGGER, REFERENCES')
    FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')
"""


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    server = Postgres(tmp_path_factory.mktemp("roles"), settings={"fsync": "off"})
    server.start()
    with connected(server, OWNER) as owner:
        owner.execute("CREATE TABLE kept (id bigserial PRIMARY KEY, number int)")
    yield server
    server.stop()


def connected(server: Postgres, role: str) -> psycopg.Connection:
    return psycopg.connect(postgres_url(server.data_dir, role=role), autocommit=True)


def test_a_process_reads_and_writes_rows_of_tables_that_a_migration_adds(postgres: Postgres):
    with connected(postgres, APP) as app:
        app.execute("INSERT INTO kept (number) VALUES (7)")
        app.execute("UPDATE kept SET number = number + 1")
        assert app.execute("DELETE FROM kept RETURNING number").fetchall() == [(8,)]


@pytest.mark.parametrize("role", [APP, OWNER])
@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TEMPORARY TABLE output (line text); COPY output FROM PROGRAM 'id'",
        "COPY kept TO PROGRAM 'cat'",
        "COPY kept FROM '/etc/passwd'",
        "SELECT pg_read_file('/etc/passwd')",
        "SELECT pg_ls_dir('/')",
        "SELECT lo_import('/etc/passwd')",
        "CREATE ROLE somebody SUPERUSER",
        "SET ROLE postgres",
        "ALTER SYSTEM SET log_statement = 'all'",
        "CREATE EXTENSION adminpack",
    ],
)
def test_no_role_of_the_shop_reaches_beyond_the_database(
    postgres: Postgres, role: str, statement: str
):
    with connected(postgres, role) as session, pytest.raises(psycopg.Error) as refused:
        session.execute(statement)

    assert refused.value.sqlstate in {"42501", "0A000", "58P01"}


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE more (id int)",
        "CREATE TEMPORARY TABLE more (id int)",
        "CREATE SCHEMA more",
        "CREATE DATABASE more",
        "CREATE FUNCTION more() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "TRUNCATE kept",
        "DROP TABLE kept",
        "ALTER TABLE kept DISABLE TRIGGER ALL",
        "SET ROLE pakka_owner",
        "SET session_replication_role = replica",
    ],
)
def test_a_process_creates_and_changes_no_tables(postgres: Postgres, statement: str):
    with (
        connected(postgres, APP) as app,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        app.execute(statement)


def test_a_database_of_an_older_version_gets_its_owner_once(tmp_path: Path):
    """A superuser owns the old tables. A restart of the server hands them over."""
    server = Postgres(tmp_path, settings={"fsync": "off"})
    server.start()
    try:
        with connected(server, SUPERUSER) as old:
            old.execute("ALTER DATABASE pakka OWNER TO postgres; DROP OWNED BY pakka_app")
            old.execute("DROP OWNED BY pakka_owner")
            old.execute(
                "DROP ROLE pakka_owner, pakka_app; GRANT TEMPORARY ON DATABASE pakka TO PUBLIC;"
                "CREATE TABLE old (id bigserial PRIMARY KEY, of int GENERATED ALWAYS AS IDENTITY);"
                "CREATE SEQUENCE alone; CREATE VIEW seen AS SELECT id FROM old;"
                "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql"
                " AS 'BEGIN RETURN NEW; END';"
                "CREATE TRIGGER refuse BEFORE INSERT ON old FOR EACH ROW EXECUTE FUNCTION refuse()"
            )
        server.stop()
        server.start()

        with connected(server, APP) as app:
            app.execute("INSERT INTO old DEFAULT VALUES; SELECT nextval('alone'), * FROM seen")
        with connected(server, OWNER) as owner:
            owner.execute("ALTER TABLE old ADD COLUMN more int; CREATE INDEX ON old (more)")
            owner.execute("DROP FUNCTION refuse CASCADE")
        with connected(server, SUPERUSER) as superuser:
            rows = "SELECT xmin::text FROM pg_class UNION SELECT xmin::text FROM pg_authid"
            before = set(superuser.execute(rows).fetchall())
            superuser.execute(ROLES.read_bytes())
            assert set(superuser.execute(rows).fetchall()) == before
    finally:
        server.stop()


@pytest.mark.django_db
def test_the_owner_has_every_table_and_the_processes_may_use_each():
    with connection.cursor() as cursor:
        cursor.execute(TABLES)
        tables = cursor.fetchall()

    assert len(tables) > 30
    assert {(owner, used, more) for _, owner, used, more in tables} == {(OWNER, True, False)}
