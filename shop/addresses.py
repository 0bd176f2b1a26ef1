"""
The addresses of the embedded servers: pure functions of `DATA_DIR`.

The settings and other programs find the servers by these, with no further configuration.
"""

import hashlib
import os
import re
from collections.abc import Mapping
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
DATABASE = "pakka"
# The roles of the embedded database: see deploy/postgres/roles.sql.
SUPERUSER = "postgres"
OWNER = "pakka_owner"
APP = "pakka_app"

MAX_SOCKET_PATH_BYTES = 100  # the kernel's limit is 107 on Linux, 103 on macOS
PLAIN_PATH = re.compile(r"[A-Za-z0-9._/-]+")  # needs no quoting in a URL


def data_dir_of(environ: Mapping[str, str]) -> Path:
    """The absolute `DATA_DIR` of this environment; `.data` in the repository when it is unset."""
    return Path(environ.get("DATA_DIR") or REPOSITORY / ".data").resolve()


def run_dir(data_dir: Path) -> Path:
    """
    The directory of the sockets: `DATA_DIR/run`, or a short path in /tmp if the path of a socket
    would be too long or would need quoting in a URL.
    """
    run = data_dir.resolve() / "run"
    longest = run / ".s.PGSQL.5432.lock"
    if len(os.fsencode(longest)) <= MAX_SOCKET_PATH_BYTES and PLAIN_PATH.fullmatch(str(run)):
        return run
    name = hashlib.sha256(os.fsencode(data_dir.resolve())).hexdigest()[:16]
    return Path("/tmp") / f"pakka-{name}"  # noqa: S108 - not $TMPDIR: all must agree


def postgres_url(data_dir: Path, *, role: str = APP) -> str:
    """The embedded database, in a form that psycopg, psql and django-environ can read."""
    return f"postgres://{role}@/{DATABASE}?host={run_dir(data_dir)}"


def redis_url(data_dir: Path) -> str:
    """The embedded Redis, for redis-py."""
    return f"unix://{run_dir(data_dir)}/redis.sock"


def celery_broker_url(redis_url: str) -> str:
    """`redis_url` in the form of Celery (kombu): unix sockets differ, other URLs are the same."""
    if not redis_url.startswith("unix://"):
        return redis_url
    return redis_url.replace("unix://", "redis+socket://", 1).replace("?db=", "?virtual_host=")
