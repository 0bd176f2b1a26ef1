"""
Whether a process of the shop says that it is ready. For the stack, and for containers:

    python -m workers.health web      # exit code 0 or 1
"""

import os
import sys
from collections.abc import Mapping
from urllib.parse import urlsplit

import requests

# The variable with the port of the process, and the path to ask.
ADDRESSES = {
    "web": ("PORT", "/health/ready"),
    "flower": ("FLOWER_PORT", "/healthcheck"),
    "standin": ("STANDIN_PORT", "/_standin/health"),
}
ANSWER_SECONDS = 2


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


if __name__ == "__main__":
    sys.exit(not answers(sys.argv[1], os.environ))
