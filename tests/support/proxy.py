"""nginx with deploy/proxy as it is shipped, at other addresses."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from pathlib import Path
from typing import Self

from shop.addresses import REPOSITORY
from tests.support.buyers import until

CONFIGURATION = REPOSITORY / "deploy" / "proxy"
PLACES = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/usr/local/sbin"


def free_ports(count: int) -> list[int]:
    found = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in found]
    for each in found:
        each.close()
    return ports


class Proxy:
    """
    `with Proxy(directory, "plain.conf", web=8000, flower=5555) as proxy:` starts nginx with this
    main file. Only upstreams, ports and file paths are replaced.
    """

    def __init__(
        self, directory: Path, main: str, *, web: int, flower: int, ports: tuple[int, int]
    ) -> None:
        self.directory = directory
        self.port, self.tls_port = ports
        self.log = directory / "access.log"
        self._main = main
        replaced = {
            "/tmp/": f"{directory}/",
            "/etc/nginx/certificates/": f"{directory}/",
            "access_log /dev/stdout": f"access_log {self.log}",
            "listen 8080": f"listen 127.0.0.1:{self.port}",
            "listen 8443": f"listen 127.0.0.1:{self.tls_port}",
            "listen 127.0.0.1:8081": f"listen unix:{directory}/health.sock",
        }
        for file in CONFIGURATION.glob("*.conf"):
            text = file.read_text()
            for ours, theirs in replaced.items():
                text = text.replace(ours, theirs)
            (directory / file.name).write_text(text)
        (directory / "containers.conf").write_text(
            f'map "" $web {{ default 127.0.0.1:{web}; }}\n'
            f'map "" $flower {{ default 127.0.0.1:{flower}; }}\n'
            f'map "" $grafana {{ default 127.0.0.1:{flower}; }}\n'
        )

    def __enter__(self) -> Self:
        program = shutil.which("nginx", path=PLACES)
        assert program, "these tests need nginx: `make proxy` installs it"
        root = "user root;" if os.geteuid() == 0 else ""  # only the owner can read its files
        errors = (self.directory / "error.log").open("w")
        self._process = subprocess.Popen(
            [program, "-p", self.directory, "-c", self.directory / self._main,
             "-g", f"daemon off; {root}"],
            stdout=errors, stderr=errors,
        )  # fmt: skip
        until(self._answers)
        return self

    def __exit__(self, *_exception: object) -> None:
        self._process.terminate()
        self._process.wait()

    def _answers(self) -> bool:
        assert self._process.poll() is None, (self.directory / "error.log").read_text()
        try:
            socket.create_connection(("127.0.0.1", self.port)).close()
        except OSError:
            return False
        return True
