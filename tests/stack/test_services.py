import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from kombu import Connection
from redis import Redis as RedisClient
from redis.exceptions import TimeoutError as RedisTimeoutError

from shop.addresses import SUPERUSER, celery_broker_url, postgres_url, redis_url, run_dir
from tests.support.processes import StartScript, eventually, none_lives
from workers.stack import process_tree
from workers.stack.services import Postgres, Redis, ServiceError, Services
from workers.stack.spawn import DIE_WITH_PARENT, die_with_parent

HOLD_SERVICES = """
import sys
from pathlib import Path
from workers.stack import process_tree
from workers.stack.services import Services

with Services(Path(sys.argv[1]), environ={}) as services:
    pids = [pid for server in services.servers for pid in process_tree.family(server.pid)]
    print(*pids, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def services(tmp_path: Path) -> Iterator[Services]:
    with Services(tmp_path, environ={}) as started:
        yield started


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[Redis]:
    server = Redis(tmp_path)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def postgres(tmp_path: Path) -> Iterator[Postgres]:
    server = Postgres(tmp_path)
    server.start()
    yield server
    server.stop()


def query(data_dir: Path, statement: str) -> list[tuple[object, ...]]:
    with psycopg.connect(postgres_url(data_dir, role=SUPERUSER)) as connection:
        cursor = connection.execute(statement)
        return cursor.fetchall() if cursor.description else []


def client(data_dir: Path, *, timeout_seconds: float = 5) -> RedisClient:
    return RedisClient.from_url(
        redis_url(data_dir), socket_timeout=timeout_seconds, decode_responses=True, retry=None
    )


# --- durable data ---


def test_data_survives_a_stop_and_a_start(services: Services):
    query(services.data_dir, "CREATE TABLE kept AS SELECT 7 AS number")
    client(services.data_dir).set("kept", "7")

    services.stop()
    services.start()

    assert query(services.data_dir, "SELECT number FROM kept") == [(7,)]
    assert client(services.data_dir).get("kept") == "7"


def test_acknowledged_writes_survive_kill_9_of_both_servers(services: Services):
    query(services.data_dir, "CREATE TABLE kept AS SELECT 7 AS number")
    client(services.data_dir).set("kept", "7")

    for server in services.servers:
        server.kill()
    services.start()

    assert query(services.data_dir, "SELECT number FROM kept") == [(7,)]
    assert client(services.data_dir).get("kept") == "7"


def test_postgres_waits_for_the_disk_and_stores_unicode(postgres: Postgres):
    settings = "current_setting('fsync'), current_setting('synchronous_commit')"
    about = "pg_encoding_to_char(encoding), datlocale"

    found = query(
        postgres.data_dir,
        f"SELECT {settings}, {about} FROM pg_database WHERE datname = current_database()",
    )

    assert found == [("on", "on", "UTF8", "C.UTF-8")]


def test_redis_evicts_no_queue_and_writes_a_log(redis: Redis):
    assert client(redis.data_dir).config_get("maxmemory-policy", "appendonly") == {
        "maxmemory-policy": "noeviction",
        "appendonly": "yes",
    }


def test_celery_reaches_the_embedded_redis(redis: Redis):
    with Connection(celery_broker_url(redis_url(redis.data_dir))) as broker:
        broker.SimpleQueue("letters").put("hello")

        assert broker.SimpleQueue("letters").get(timeout=5).payload == "hello"


# --- nothing is left behind ---


def test_a_stop_leaves_no_process_no_socket_and_no_shared_memory(services: Services):
    family = [pid for server in services.servers for pid in process_tree.family(server.pid)]

    services.stop()

    assert none_lives(family)
    assert not run_dir(services.data_dir).exists()
    assert not shared_memory_of(family)


def test_a_stop_after_kill_9_leaves_no_socket_and_no_shared_memory(services: Services):
    family = [pid for server in services.servers for pid in process_tree.family(server.pid)]
    for server in services.servers:
        server.kill()

    services.stop()

    assert not run_dir(services.data_dir).exists()
    assert not shared_memory_of(family)


def shared_memory_of(pids: list[int]) -> list[str]:
    lines = Path("/proc/sysvipc/shm").read_text().splitlines()[1:]
    return [
        line for line in lines if int(line.split()[4]) in pids
    ]  # the fifth field: the pid of the creator


def test_kill_9_of_the_parent_ends_the_servers_and_their_children(
    tmp_path: Path, start_script: StartScript
):
    parent = start_script(HOLD_SERVICES, tmp_path)
    assert parent.stdout
    family = [int(pid) for pid in parent.stdout.readline().split()]

    parent.kill()

    assert len(family) > 5
    assert eventually(lambda: none_lives(family))


def test_a_start_right_after_kill_9_of_the_parent_waits_for_its_servers_to_end(
    tmp_path: Path, start_script: StartScript
):
    parent = start_script(HOLD_SERVICES, tmp_path)
    assert parent.stdout
    parent.stdout.readline()
    parent.kill()

    with Services(tmp_path, environ={}) as services:
        assert query(services.data_dir, "SELECT 1") == [(1,)]


def test_a_child_whose_parent_has_died_already_does_not_start():
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()

    orphan = subprocess.run(
        [
            sys.executable,
            "-I",
            "-S",
            DIE_WITH_PARENT,
            str(gone.pid),
            "15",
            "same",
            "echo",
            "started",
        ],
        capture_output=True,
        check=False,
    )

    assert orphan.stdout == b""
    assert orphan.returncode == 1


def test_a_frozen_server_is_stopped_cleanly(redis: Redis):
    redis.freeze()

    redis.stop()

    assert "Valkey is now ready to exit" in redis.log.read_text()


def test_postgres_leaves_nothing_in_shared_memory(postgres: Postgres):
    """Except one segment, which the tests above cover."""
    assert query(postgres.data_dir, "SHOW dynamic_shared_memory_type") == [("mmap",)]


# --- remains of a crash do no harm ---


def test_stale_sockets_do_not_prevent_a_start(tmp_path: Path):
    run_dir(tmp_path).mkdir(mode=0o700)
    for name in ("redis.sock", ".s.PGSQL.5432", ".s.PGSQL.5432.lock"):
        (run_dir(tmp_path) / name).write_text(f"{os.getpid()}\n")

    with Services(tmp_path, environ={}) as services:
        assert query(services.data_dir, "SELECT 1") == [(1,)]
        assert client(services.data_dir).ping()


def test_a_stale_pid_that_another_process_has_by_now_does_not_prevent_a_start(postgres: Postgres):
    postgres.kill()
    pid_file = postgres.directory / "postmaster.pid"
    command = [*die_with_parent(signal.SIGKILL, "unprivileged"), "sleep", "60"]
    somebody = subprocess.Popen(command)
    comm = Path(f"/proc/{somebody.pid}/comm")
    try:
        assert eventually(lambda: comm.read_text() == "sleep\n")
        pid_file.write_text("\n".join([str(somebody.pid), *pid_file.read_text().split("\n")[1:]]))

        postgres.start()
    finally:
        somebody.kill()
        somebody.wait()

    assert query(postgres.data_dir, "SELECT 1") == [(1,)]


def test_an_unfinished_database_is_made_again(tmp_path: Path):
    (tmp_path / "postgres.unfinished").mkdir()
    (tmp_path / "postgres.unfinished" / "PG_VERSION").write_text("18")

    with Services(tmp_path, environ={"REDIS_URL": "redis://elsewhere"}) as services:
        assert query(services.data_dir, "SELECT 1") == [(1,)]


def test_a_database_of_another_version_of_postgres_is_refused(tmp_path: Path):
    (tmp_path / "postgres").mkdir()
    (tmp_path / "postgres" / "PG_VERSION").write_text("16\n")

    with pytest.raises(ServiceError, match=r"PostgreSQL 16, this is 18"):
        Postgres(tmp_path).start()


# --- owners ---


def test_a_second_start_on_one_data_dir_names_the_running_server(redis: Redis):
    with pytest.raises(ServiceError, match=f"redis already runs on DATA_DIR={redis.data_dir}"):
        Redis(redis.data_dir).start()


def test_attaching_uses_running_servers_and_leaves_them_running(services: Services):
    client(services.data_dir).set("seen", "by both")

    with Services(services.data_dir, environ={}, attach=True) as guest:
        assert all(server.is_running for server in guest.servers)
        assert client(guest.data_dir).get("seen") == "by both"
        assert query(guest.data_dir, "SELECT 1") == [(1,)]

    assert all(server.is_running for server in services.servers)
    assert client(services.data_dir).ping()


def test_attaching_starts_and_stops_servers_that_do_not_run(tmp_path: Path):
    guest = Redis(tmp_path, attach=True)

    guest.start()
    assert client(tmp_path).ping()
    pid = guest.pid
    guest.stop()

    assert none_lives([pid])


def test_servers_of_two_data_dirs_run_side_by_side(tmp_path: Path):
    one, other = Redis(tmp_path / "one"), Redis(tmp_path / "other")
    one.start()
    other.start()

    client(one.data_dir).set("where", "one")

    assert client(other.data_dir).get("where") is None
    other.stop()
    one.stop()


def test_a_server_whose_address_is_given_is_not_started(tmp_path: Path):
    given = {"DATABASE_URL": "postgres://db/shop", "REDIS_URL": "redis://cache"}

    services = Services(tmp_path, environ=given)

    assert services.servers == []
    assert (services.database_url, services.redis_url) == ("postgres://db/shop", "redis://cache")


def test_a_run_directory_that_others_may_enter_is_refused(tmp_path: Path):
    run_dir(tmp_path).mkdir()
    run_dir(tmp_path).chmod(0o777)

    with pytest.raises(ServiceError, match="must belong to this user alone"):
        Redis(tmp_path).start()


# --- directories ---


@pytest.mark.parametrize("name", ["long" * 30, "my shop", "दुकान"])
def test_any_directory_can_be_used(tmp_path: Path, name: str):
    with Services(tmp_path / name, environ={}) as services:
        assert query(services.data_dir, "SELECT 1") == [(1,)]
        assert client(services.data_dir).ping()

    assert not run_dir(services.data_dir).exists()


def test_a_directory_below_a_private_one_can_be_used_and_stays_private(
    tmp_path: Path,
):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)

    with Services(closed / "data", environ={"REDIS_URL": "redis://elsewhere"}) as services:
        assert query(services.data_dir, "SELECT 1") == [(1,)]

    assert closed.stat().st_mode & 0o777 == 0o700
    assert services.data_dir.stat().st_mode & 0o777 == 0o700


# --- kill and freeze ---


def test_a_frozen_redis_does_not_answer_until_it_thaws(redis: Redis):
    redis.freeze()
    with pytest.raises(RedisTimeoutError):
        client(redis.data_dir, timeout_seconds=0.2).ping()

    redis.thaw()

    assert client(redis.data_dir).ping()


def test_freezing_postgres_freezes_the_sessions_that_are_open(postgres: Postgres):
    with psycopg.connect(postgres_url(postgres.data_dir), autocommit=True) as connection:
        session_pid = connection.info.backend_pid
        postgres.freeze()
        frozen = [process.pid for process in process_tree.running() if process.state == "T"]
        postgres.thaw()

        assert {postgres.pid, session_pid} <= set(frozen)
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_a_killed_server_is_dead_until_it_is_started(redis: Redis):
    redis.kill()
    assert not redis.is_running
    assert not redis.revive()

    redis.start()

    assert client(redis.data_dir).ping()


def test_a_server_that_died_unexpectedly_is_revived(redis: Redis):
    os.kill(redis.pid, signal.SIGKILL)
    assert eventually(lambda: not redis.is_running)

    assert redis.revive()

    assert client(redis.data_dir).ping()
