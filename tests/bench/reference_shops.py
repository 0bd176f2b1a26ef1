"""The reference shops as processes, with the same server, Postgres, Redis and gateway."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from shop.addresses import DATABASE, REPOSITORY, celery_broker_url
from tests.bench.cost import Meter
from tests.bench.gateway_process import GatewayProcess, free_port
from tests.bench.pakka import Pakka
from tests.bench.shops import (
    VARIANTS,
    BenchError,
    Buyer,
    Payable,
    Progress,
    lines_of,
    order_form,
)
from workers.stack.environment import is_free
from workers.stack.process import Process

OWN_DATABASE = "reference"
START_SECONDS = 60
FLASH_ID = VARIANTS + 1
WEB = "exec granian --interface wsgi --host 127.0.0.1 --port {port} --http 1 --no-ws --workers 2 \
--blocking-threads 8 --blocking-threads-idle-timeout 600 --backlog 2048 \
tests.bench.references.wsgi:application"
WORKER = "exec celery -A tests.bench.references.celery_app worker -P prefork -c {processes} \
--loglevel WARNING"
# Twice: tables without migrations come first, and refer to those of django.contrib.auth.
MIGRATE = "python -m django migrate -v 0 && exec python -m django migrate --run-syncdb -v 0"


@dataclass(frozen=True, slots=True)
class Kind:
    """A reference shop and its processes."""

    name: str
    module: str
    worker_processes: int = 0  # of Celery; 0: no Celery
    tasks_per_connection: int = 0  # to Postgres; 0: one connection a task, Celery's default


INSIDE_REQUEST = Kind("inside the request", "inside_request")
CHAIN = Kind("Celery chain", "celery_chain", worker_processes=2)
CHAIN_REUSING = Kind("chain, connections kept", "celery_chain", 2, tasks_per_connection=1000)


class ReferenceShop:
    def __init__(self, kind: Kind, beside: Pakka, log_dir: Path) -> None:
        self.name = kind.name
        self.port = free_port()
        self.gateway: GatewayProcess = beside.gateway
        self.payable: list[Payable] = []
        self._kind = kind
        services = beside.stack.services
        database_url = services.superuser_url.replace(f"/{DATABASE}?", f"/{OWN_DATABASE}?")
        redis_url = f"{services.redis_url}?db=1"
        self._environment = {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "tests.bench.references.settings",
            "PYTHONPATH": str(REPOSITORY),
            "REFERENCE": kind.module,
            "SECRET_KEY": secrets.token_urlsafe(50),
            "DATABASE_URL": database_url,
            "CELERY_BROKER_URL": celery_broker_url(redis_url),
            "DB_REUSE_MAX": str(kind.tasks_per_connection),
            "GATEWAY_URL": self.gateway.url,
            "GATEWAY_WEBHOOK_SECRET": self.gateway.webhook_secret,
        }
        commands = {"web": WEB.format(port=self.port)}
        if kind.worker_processes:
            commands["worker"] = WORKER.format(processes=kind.worker_processes)
        self._log_dir = log_dir
        self._processes = {name: self._process(name, line) for name, line in commands.items()}
        with psycopg.connect(services.superuser_url, autocommit=True) as admin:
            known = "SELECT 1 FROM pg_database WHERE datname = %s"
            self._is_new = not admin.execute(known, [OWN_DATABASE]).fetchone()
            if self._is_new:
                admin.execute(f"CREATE DATABASE {OWN_DATABASE}")
        self.database = psycopg.connect(database_url, autocommit=True)
        self.meter = Meter(services, self.pids)

    def start(self) -> None:
        if self._is_new:
            self._migrate()
            self._fill_shelf()
        for process in self._processes.values():
            process.start()
        deadline = time.monotonic() + START_SECONDS
        while is_free(self.port) or not self._worker_is_ready():
            for process in self._processes.values():
                if not process.is_running or time.monotonic() > deadline:
                    raise BenchError(f"{self.name}: {process.name}:\n{process.last_lines()}")
            time.sleep(0.05)

    def stop(self) -> None:
        for process in self._processes.values():
            process.kill()
        self.meter.close()
        self.database.close()

    def pids(self) -> Mapping[str, Sequence[int]]:
        return {name: process.pids for name, process in self._processes.items()}

    def make_buyers(self, count: int, *, flash: bool = False) -> list[Buyer]:
        users = self._rows(
            """
            INSERT INTO auth_user (username, password, is_superuser, first_name, last_name, email,
                                   is_staff, is_active, date_joined)
            SELECT %s || n, '!', false, '', '', '', false, true, now()
            FROM generate_series(1, %s) AS n RETURNING id
            """,
            [secrets.token_hex(6), count],
        )
        tokens = [secrets.token_hex(20) for _ in users]
        items = [
            (owner_id, variant_id)
            for number, (owner_id,) in enumerate(users)
            for variant_id in ([FLASH_ID] if flash else [line + 1 for line in lines_of(number)])
        ]
        with self.database.cursor() as cursor:
            cursor.executemany(
                "INSERT INTO authtoken_token (key, created, user_id) VALUES (%s, now(), %s)",
                [(token, owner_id) for token, (owner_id,) in zip(tokens, users, strict=True)],
            )
            cursor.executemany(
                "INSERT INTO references_cartitem (owner_id, variant_id, quantity)"
                " VALUES (%s, %s, 1)",
                items,
            )
        keyed = [(f"Token {token}", secrets.token_hex(16)) for token in tokens]
        return [
            Buyer(authorization, order_form(authorization, key=key)) for authorization, key in keyed
        ]

    def flash_stock(self, units: int) -> None:
        self.database.execute(
            "UPDATE references_variant SET stock = %s WHERE id = %s", [units, FLASH_ID]
        )

    def undecided(self) -> int:
        return int(
            self._rows("SELECT count(*) FROM references_order WHERE status = 'processing'")[0][0]
        )

    def events_waiting(self) -> int:
        """Always 0: a webhook is answered after its work."""
        return 0

    def progress(self, checkout_ids: Sequence[str]) -> list[Progress]:
        rows = self._rows(
            """
            SELECT id::text, status, created_at, payable_at, paid_at, gateway_order_id
            FROM references_order WHERE id = ANY(%s::uuid[])
            """,
            [list(checkout_ids)],
        )
        return [Progress(*row) for row in rows]

    def prepare_tables(self) -> None:
        self.database.execute("VACUUM ANALYZE")
        self.database.execute("CHECKPOINT")

    def _worker_is_ready(self) -> bool:
        """Whether the pool is complete: the parent and all children."""
        wanted = self._kind.worker_processes
        return not wanted or len(self._processes["worker"].pids) > wanted

    def _fill_shelf(self) -> None:
        self.database.execute(
            """
            INSERT INTO references_variant (id, sku, name, price_paise, stock)
            SELECT n, 'LAMP-' || n, 'Brass lamp', 9900 + n * 997, 1000000
            FROM generate_series(1, %s) AS n
            """,
            [FLASH_ID],
        )

    def _migrate(self) -> None:
        process = self._process("setup", MIGRATE)
        process.start()
        while process.is_running:
            time.sleep(0.05)
        if process.returncode:
            raise BenchError(f"{self.name}: migrate:\n{process.last_lines()}")
        process.kill()

    def _process(self, name: str, command: str) -> Process:
        self._log_dir.mkdir(parents=True, exist_ok=True)
        log = self._log_dir / f"{self._kind.module}-{name}.log"
        return Process(name, command, environment=self._environment, root=REPOSITORY, log=log)

    def _rows(self, query: Any, values: Sequence[object] = ()) -> list[Any]:
        return self.database.execute(query, values or None).fetchall()


@contextmanager
def running(kind: Kind, beside: Pakka) -> Iterator[ReferenceShop]:
    """Run the reference shop while the processes of Pakka are stopped (SIGSTOP)."""
    with ExitStack() as still:
        for name in beside.pids():
            beside.stack.freeze(name)
            still.callback(beside.stack.thaw, name)
        shop = ReferenceShop(kind, beside, beside.stack.data_dir / "log")
        still.callback(shop.stop)
        shop.start()
        yield shop
