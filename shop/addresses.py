"""
Where the embedded servers listen: pure functions of `DATA_DIR`, the same for every process.

Settings and other programs find the servers by these, without being told.
"""

import hashlib
import os
import re
from collections.abc import Mapping
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
DATABASE = "pakka"
# Roles of the embedded database: see deploy/postgres/roles.sql.
SUPERUSER = "postgres"
OWNER = "pakka_owner"
APP = "pakka_app"

MAX_SOCKET_PATH_BYTES = 100  # the kernel's limit is 107 on Linux, 103 on macOS
PLAIN_PATH = re.compile(r"[A-Za-z0-9._/-]+")  # needs no quoting in any URL


def data_dir_of(environ: Mapping[str, str]) -> Path:
    """The absolute `DATA_DIR` of this environment; `.data` in the repository when it is unset."""
    return Path(environ.get("DATA_DIR") or REPOSITORY / ".data").resolve()


def run_dir(data_dir: Path) -> Path:
    """
    Where the sockets lie: `DATA_DIR/run`, or a short name in the temp directory when a socket
    there would have too long a path, or one that URLs would have to quote.
    """
    run = data_dir.resolve() / "run"
    longest = run / ".s.PGSQL.5432.lock"
    if len(os.fsencode(longest)) <= MAX_SOCKET_PATH_BYTES and PLAIN_PATH.fullmatch(str(run)):
        return run
    name = hashlib.sha256(os.fsencode(data_dir.resolve())).hexdigest()[:16]
    return Path("/tmp") / f"pakka-{name}"  # noqa: S108 - not $TMPDIR: all must agree


def postgres_url(data_dir: Path, *, role: str = APP) -> str:
    """The embedded database, in the one form that psycopg, psql and django-environ all read."""
    return f"postgres://{role}@/{DATABASE}?host={run_dir(data_dir)}"


def redis_url(data_dir: Path) -> str:
    """The embedded Redis, for redis-py."""
    return f"unix://{run_dir(data_dir)}/redis.sock"


def celery_broker_url(redis_url: str) -> str:
    """`redis_url` as Celery (kombu) spells it: other words for unix sockets, the rest unchanged."""
    if not redis_url.startswith("unix://"):
        return redis_url
    return redis_url.replace("unix://", "redis+socket://", 1).replace("?db=", "?virtual_host=")
