"""
Whether a process of the shop says that it is ready. For the stack, and for containers:

    python -m workers.health web      # exit code 0 or 1

Who has no address to ask at leaves signs of life in the database. These belong to all processes of
a name together: of three workers, one that hangs is not seen as long as the others work.
"""

import os
import sys
from collections.abc import Mapping
from urllib.parse import urlsplit

import psycopg
import requests

from workers.addresses import data_dir_of, postgres_url

# The variable with the port of the process, and the path to ask.
ADDRESSES = {
    "web": ("PORT", "/health/ready"),
    "flower": ("FLOWER_PORT", "/healthcheck"),
    "standin": ("STANDIN_PORT", "/_standin/health"),
}
ANSWER_SECONDS = 2
# The rows of shop.heartbeats.Heartbeat that a process writes, and the age at which it is silent.
HEARTBEATS = {
    "sweeper": ["sweeper"],
    "worker": ["canary.checkout", "canary.webhooks"],
    "gateway": ["canary.gateway"],
}
SILENT_AFTER_SECONDS = 30
CANARIES_MISSED = 3


def is_known(name: str) -> bool:
    """Whether process `name` has an address to ask at."""
    return name in ADDRESSES


def answers(name: str, environ: Mapping[str, str]) -> bool:
    """Ask process `name` on this machine, under the name by which its users know it."""
    port, path = ADDRESSES[name]
    host = urlsplit(environ.get("PUBLIC_URL", "")).hostname or "127.0.0.1"
    with requests.Session() as http:
        http.trust_env = False  # no proxy stands between us and ourselves
        try:
            url = f"http://127.0.0.1:{environ[port]}{path}"
            answer = http.get(url, headers={"Host": host}, timeout=ANSWER_SECONDS)
        except requests.RequestException:
            return False
    return answer.status_code == requests.codes.ok


def beats(name: str, environ: Mapping[str, str]) -> bool:
    """Whether all signs of life of process `name` are fresh. Costs no start of Django."""
    seconds = int(environ.get("CANARY_SECONDS") or 60) * CANARIES_MISSED
    if name == "sweeper":
        seconds = SILENT_AFTER_SECONDS
    url = environ.get("DATABASE_URL") or postgres_url(data_dir_of(environ))
    try:
        with psycopg.connect(url, connect_timeout=ANSWER_SECONDS) as database:
            fresh = database.execute(
                "SELECT count(*) FROM shop_heartbeat WHERE name = ANY(%s)"
                " AND at > now() - make_interval(secs => %s)",
                [HEARTBEATS[name], seconds],
            ).fetchone()
    except psycopg.Error:
        return False
    return fresh == (len(HEARTBEATS[name]),)


if __name__ == "__main__":
    ask = answers if is_known(sys.argv[1]) else beats
    sys.exit(not ask(sys.argv[1], os.environ))
