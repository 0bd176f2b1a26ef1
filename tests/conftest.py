from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from django.conf import settings
from django.db import connection
from django.test import override_settings
from redis import Redis

from shop.addresses import OWNER
from shop.db import redis_client
from shop.payments.razorpay.client import RazorpayGateway
from tests.support import distribution, environment
from tests.support.standin import StandIn
from workers.stack.postgres import ROLES
from workers.stack.services import Services

NOON = datetime(2026, 11, 22, 6, 30, tzinfo=UTC)  # in Kolkata
FAST_HASHER = "django.contrib.auth.hashers.MD5PasswordHasher"


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> distribution.InUnits:
    return distribution.InUnits(config, log)


@pytest.hookimpl(trylast=True)  # after pytest-django has sorted them
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if hasattr(config, "workerinput"):
        distribution.longest_first(items)


@pytest.fixture(scope="session", autouse=True)
def fast_passwords() -> Iterator[None]:
    """Hash new passwords by MD5. A test of hashing sets `PASSWORD_HASHERS` itself."""
    with override_settings(PASSWORD_HASHERS=[FAST_HASHER, *settings.PASSWORD_HASHERS]):
        yield


@pytest.fixture(scope="session")
def services() -> Iterator[Services]:
    """The embedded Postgres and Redis, without fsync."""
    with Services(
        settings.DATA_DIR, environ={}, postgres_settings={"fsync": "off", "full_page_writes": "off"}
    ) as running:
        yield running


@pytest.fixture(scope="session")
def django_db_modify_db_settings(services: Services) -> None:
    """Start the servers before the role that owns the tables makes the test database."""
    connection.settings_dict["USER"] = OWNER
    left_over = connection.creation._get_test_db_name()  # of killed tests
    with psycopg.connect(services.superuser_url, autocommit=True) as superuser:
        superuser.execute(f"DROP DATABASE IF EXISTS {left_over} WITH (FORCE)")


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, services: Services) -> None:
    """Give the test database the roles of the shop, for processes that a test starts."""
    name = connection.settings_dict["NAME"]
    with psycopg.connect(services.superuser_url, dbname=name) as superuser:
        superuser.execute(ROLES.read_bytes())


@pytest.fixture
def redis(services: Services) -> Iterator[Redis]:
    """Redis, empty, and not marked as unavailable by an earlier test."""
    client = Redis.from_url(services.redis_url)
    client.flushall()
    redis_client.try_again()
    yield client
    client.close()


@pytest.fixture(scope="session")
def standin_process() -> Iterator[StandIn]:
    with StandIn() as running:
        yield running


@pytest.fixture
def standin(standin_process: StandIn) -> StandIn:
    """The stand-in, reset."""
    standin_process.reset()
    return standin_process


@pytest.fixture
def gateway(standin: StandIn) -> RazorpayGateway:
    return RazorpayGateway(
        key_id=environment.KEY_ID,
        key_secret=environment.KEY_SECRET,
        base_url=standin.base_url,
        timeout_seconds=2,
        connections=4,
    )


@pytest.fixture
def now() -> datetime:
    return NOON
