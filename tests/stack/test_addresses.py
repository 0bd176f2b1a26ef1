from pathlib import Path

import environ
import pytest
from kombu import Connection
from psycopg.conninfo import conninfo_to_dict
from redis import Redis as RedisClient

from shop.addresses import celery_broker_url, data_dir_of, postgres_url, redis_url, run_dir

SHORT = Path("/srv/shop/.data")
LONG = Path("/srv") / ("long" * 40) / "data"


def test_django_and_psycopg_read_the_same_from_the_database_url():
    django = environ.Env.db_url_config(postgres_url(SHORT))
    psycopg = conninfo_to_dict(postgres_url(SHORT))

    assert (django["NAME"], django["USER"]) == (psycopg["dbname"], psycopg["user"])
    assert django["OPTIONS"]["host"] == psycopg["host"] == "/srv/shop/.data/run"


def test_redis_and_celery_use_the_same_socket():
    redis = RedisClient.from_url(redis_url(SHORT))
    celery = Connection(celery_broker_url(redis_url(SHORT)))

    assert redis.connection_pool.connection_kwargs["path"] == "/srv/shop/.data/run/redis.sock"
    assert celery.as_uri() == "redis+socket:///srv/shop/.data/run/redis.sock"


def test_celery_uses_the_same_numbered_database_as_redis():
    assert celery_broker_url("unix:///a.sock?db=3") == "redis+socket:///a.sock?virtual_host=3"


def test_the_url_of_another_redis_is_unchanged():
    assert celery_broker_url("rediss://:word@cache:6380/2") == "rediss://:word@cache:6380/2"


@pytest.mark.parametrize("data_dir", [LONG, Path("/srv/my shop/data"), Path("/srv/दुकान")])
def test_a_path_too_long_for_a_socket_or_unfit_for_a_url_gets_a_short_name(data_dir: Path):
    assert len(str(run_dir(data_dir) / ".s.PGSQL.5432.lock")) < 100
    assert run_dir(data_dir) == run_dir(data_dir)
    assert run_dir(data_dir) != run_dir(data_dir / "other")


def test_the_data_dir_is_absolute_and_in_the_repository_when_unset():
    assert data_dir_of({}).name == ".data"
    assert data_dir_of({"DATA_DIR": ""}) == data_dir_of({})
    assert data_dir_of({"DATA_DIR": "elsewhere"}) == Path.cwd() / "elsewhere"


def test_two_names_of_a_directory_have_one_address(tmp_path: Path):
    (tmp_path / "real").mkdir()
    (tmp_path / "alias").symlink_to("real")

    assert run_dir(tmp_path / "alias") == run_dir(tmp_path / "real")
