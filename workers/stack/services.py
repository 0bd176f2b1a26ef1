"""
PostgreSQL and Redis for one machine, from wheels: no installation, no root, no network ports.

    with Services(Path(".data")) as services:
        connect(services.database_url)

If `DATABASE_URL` or `REDIS_URL` is set, that server is used and no embedded one is started.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from shop.addresses import OWNER, SUPERUSER, data_dir_of, postgres_url, redis_url
from workers.stack.postgres import Postgres
from workers.stack.server import Server, ServiceError
from workers.stack.valkey import Redis

__all__ = ["Postgres", "Redis", "Server", "ServiceError", "Services"]


class Services:
    """
    The embedded servers whose URL `environ` does not set.

    With `attach`, servers that run already on this `DATA_DIR` are used and left running.
    """

    def __init__(
        self,
        data_dir: Path | None = None,
        *,
        attach: bool = False,
        environ: Mapping[str, str] = os.environ,
        postgres_settings: Mapping[str, str] | None = None,
    ) -> None:
        self.data_dir = data_dir.resolve() if data_dir else data_dir_of(environ)
        given = environ.get("DATABASE_URL")
        self.database_url = given or postgres_url(self.data_dir)
        self.owner_url = (
            environ.get("DATABASE_OWNER_URL") or given or postgres_url(self.data_dir, role=OWNER)
        )
        self.superuser_url = (
            self.owner_url if given else postgres_url(self.data_dir, role=SUPERUSER)
        )
        self.redis_url = environ.get("REDIS_URL") or redis_url(self.data_dir)
        self.postgres = (
            None if given else Postgres(self.data_dir, attach=attach, settings=postgres_settings)
        )
        self.redis = None if environ.get("REDIS_URL") else Redis(self.data_dir, attach=attach)

    @property
    def servers(self) -> list[Server]:
        return [server for server in (self.postgres, self.redis) if server]

    def start(self) -> None:
        """
        Start the servers that do not run, and return when all of them answer.

        :raises ServiceError: a server does not start; the others are stopped again.
        """
        try:
            for server in self.servers:
                server.start()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop the servers that `start` started. A repeat changes nothing."""
        for server in reversed(self.servers):
            server.stop()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self.stop()
