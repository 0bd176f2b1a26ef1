"""
The environment of a stack: the user's values, and a working value for every other variable.

Secrets are made once for each `DATA_DIR` and kept there, readable by their owner only. An empty
value counts as unset.
"""

import os
import random
import secrets
import socket
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path

from workers.stack.server import ServiceError

STANDIN = "standin"
SECRETS_FILE = "secrets.env"
DEFAULT_PORTS = {"PORT": 8000, "FLOWER_PORT": 5555, "STANDIN_PORT": 8010}
# Below the ports of outgoing connections: one of those could take the port of a process that is
# being restarted.
FREE_PORTS = range(20_000, 32_000)
NOT_PROXIED = ("127.0.0.1", "localhost")


def complete(environ: Mapping[str, str], *, data_dir: Path) -> dict[str, str]:
    """
    `environ` with a value for every variable that the processes need.

    Ports have their given or default values. Makes and reads the secrets of `data_dir`.
    """
    known = {name: value for name, value in environ.items() if value}
    for name, value in _defaults(known).items():
        known.setdefault(name, value)
    for name, value in kept_secrets(data_dir).items():
        # A real gateway has keys of its own.
        if uses_standin(environ) or not name.startswith("RAZORPAY_"):
            known.setdefault(name, value)
    if uses_standin(environ):
        known["RAZORPAY_BASE_URL"] = f"http://127.0.0.1:{known['STANDIN_PORT']}"
        known.setdefault("STANDIN_WEBHOOK_URLS", f"{own_url(known)}/api/webhooks/razorpay/")
    known.setdefault("PUBLIC_URL", own_url(known))
    known["DATA_DIR"] = str(data_dir)
    known["NO_PROXY"] = known["no_proxy"] = _not_proxied(known)
    known["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{known.get('PATH', os.defpath)}"
    return known


def uses_standin(environ: Mapping[str, str]) -> bool:
    """Whether to use the stand-in: no gateway is named, and the keys are not live ones."""
    return not environ.get("RAZORPAY_BASE_URL") and not _is_live(environ)


def own_url(environ: Mapping[str, str]) -> str:
    """The address of the shop on this machine."""
    return f"http://127.0.0.1:{environ['PORT']}"


def _defaults(environ: Mapping[str, str]) -> dict[str, str]:
    return {
        **{name: str(port) for name, port in DEFAULT_PORTS.items()},
        "DEBUG": "0" if _is_live(environ) else "1",
        "PYTHONUNBUFFERED": "1",  # a line is in the log as soon as it is printed
        # Celery's long warning to root is not needed on a development machine.
        "PYTHONWARNINGS": "ignore:You're running the worker with superuser privileges",
    }


def _is_live(environ: Mapping[str, str]) -> bool:
    return environ.get("RAZORPAY_KEY_ID", "").startswith("rzp_live_")


def _not_proxied(environ: Mapping[str, str]) -> str:
    given = environ.get("no_proxy") or environ.get("NO_PROXY") or ""
    hosts = [host.strip() for host in given.split(",") if host.strip()]
    return ",".join(dict.fromkeys([*hosts, *NOT_PROXIED]))


# --- secrets -------------------------------------------------------------------------------------


def kept_secrets(data_dir: Path) -> dict[str, str]:
    """The secrets of this `data_dir`, made on first use. A repeat returns the same ones."""
    file = data_dir / SECRETS_FILE
    kept = _read(file) if file.exists() else {}
    new = {name: value for name, value in _fresh_secrets().items() if name not in kept}
    if new:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(descriptor, "w") as writing:
            writing.writelines(f"{name}={value}\n" for name, value in new.items())
    return kept | new


def _read(file: Path) -> dict[str, str]:
    lines = (line.partition("=") for line in file.read_text().splitlines())
    return {name: value for name, equals, value in lines if equals}


def _fresh_secrets() -> dict[str, str]:
    return {
        "SECRET_KEY": secrets.token_urlsafe(50),
        "RAZORPAY_KEY_ID": f"rzp_test_{secrets.token_hex(7)}",
        "RAZORPAY_KEY_SECRET": secrets.token_urlsafe(24),
        "RAZORPAY_WEBHOOK_SECRETS": secrets.token_urlsafe(24),
        "FLOWER_BASIC_AUTH": f"ops:{secrets.token_urlsafe(12)}",
        "ADMIN_PASSWORD": secrets.token_urlsafe(12),
    }


# --- ports ---------------------------------------------------------------------------------------


class Ports:
    """
    The ports of one stack, reserved until `release`.

    Each is reserved by a socket name that only one process of the machine can have. To look for
    listeners is not enough: a stack that is starting has none yet, and two web servers can share a
    port unnoticed.
    """

    def __init__(self) -> None:
        self._reserved = ExitStack()

    def take(
        self, environ: Mapping[str, str], *, announce: Callable[[str], None]
    ) -> dict[str, str]:
        """
        A port for each of `DEFAULT_PORTS`: the given one, else its default, else a free one.

        :raises ServiceError: a given port is taken.
        """
        return {name: str(self._take_one(name, environ, announce)) for name in DEFAULT_PORTS}

    def release(self) -> None:
        self._reserved.close()

    def _take_one(
        self, name: str, environ: Mapping[str, str], announce: Callable[[str], None]
    ) -> int:
        if given := environ.get(name):
            if not given.isdecimal() or not 0 < int(given) < 65536:
                raise ServiceError(f"{name}={given}, must be a port number")
            if not self._reserve(int(given)):
                raise ServiceError(f"{name}={given} is taken by another program on this machine")
            return int(given)
        if self._reserve(DEFAULT_PORTS[name]):
            return DEFAULT_PORTS[name]
        port = self._free_port()
        announce(f"{name}: {DEFAULT_PORTS[name]} is taken, using {port}")
        return port

    def _free_port(self) -> int:
        for port in random.sample(FREE_PORTS, 100):
            if self._reserve(port):
                return port
        raise ServiceError("no free port on 127.0.0.1")

    def _reserve(self, port: int) -> bool:
        if sys.platform == "linux":
            name = socket.socket(socket.AF_UNIX)  # an abstract name, which ends with this process
            try:
                name.bind(f"\0pakka-port-{port}")
            except OSError:
                name.close()
                return False
            self._reserved.callback(name.close)
        return is_free(port)


def is_free(port: int) -> bool:
    """Whether no program listens on `port` of this machine."""
    with socket.socket() as probe:
        # A connection that ended a minute ago does not count as a listener.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
