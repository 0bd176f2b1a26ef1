"""
The whole shop on this machine: embedded servers, the Procfile's processes, the stand-in Razorpay.

    python -m workers.stack up              # until Ctrl-C
    python -m workers.stack demo            # one checkout, then stop
    python -m workers.stack run COMMAND     # a command with the stack's environment and services

As a library, for tests: `with Stack(data_dir) as stack: stack.kill("worker")`.
"""

import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Self

from shop.addresses import REPOSITORY, data_dir_of
from workers import health, procfile
from workers.stack import environment
from workers.stack.environment import STANDIN
from workers.stack.process import STOP_SECONDS, Process
from workers.stack.services import Server, ServiceError, Services
from workers.stack.spawn import last_lines

READY_SECONDS = 60
MAX_QUICK_DEATHS = 5  # during the start; afterwards a process is always started again
TICK_SECONDS = 0.05
SETUP = (("migrate", "--noinput"), ("seed",))  # manage.py commands before the start


class StackError(ServiceError):
    """The stack cannot start. The message names the process and shows the end of its log."""


class Stopped(Exception):
    """`stop_asked` was set while the stack was starting."""


class Stack:
    """
    A running shop. Start and stop it from one thread: it dies with that thread.

    `env_overrides` replace values of this process's environment; an empty value unsets one.
    `processes` are the names to start; by default all of the Procfile, and the stand-in unless the
    environment names a gateway. With `supervise`, a process that dies is started again.
    """

    def __init__(
        self,
        data_dir: Path | None = None,
        env_overrides: Mapping[str, str] | None = None,
        *,
        processes: Sequence[str] | None = None,
        supervise: bool = True,
        setup: Sequence[Sequence[str]] = SETUP,
        root: Path = REPOSITORY,
        announce: Callable[[str], None] = lambda _line: None,
    ) -> None:
        self.given = {**os.environ, **(env_overrides or {})}
        self.data_dir = (data_dir or data_dir_of(self.given)).resolve()
        self.services = Services(self.data_dir, environ=self.given)
        self.environment: dict[str, str] = {}
        self.stop_asked = threading.Event()
        self._names = processes
        self._supervise = supervise
        self._setup = setup
        self._root = root
        self._announce = announce
        self._ports = environment.Ports()
        self._processes: dict[str, Process] = {}
        self._over = threading.Event()
        self._supervisor: threading.Thread | None = None

    # --- start and stop --------------------------------------------------------------------------

    def start(self) -> None:
        """
        Start the servers, set up the database, and start the processes; then call `wait_ready`.

        If this fails, everything that was started is stopped.

        :raises ServiceError: a port is taken, or a server or a setup command fails.
        :raises Stopped: `stop_asked` was set during the start.
        """
        try:
            self.services.start()  # first: it fails if another stack uses DATA_DIR
            self._prepare_environment()
            for command in self._setup:
                self._manage(*command)
            self._start_processes()
        except BaseException:
            self.stop()
            raise

    def wait_ready(self, timeout_seconds: float = READY_SECONDS) -> None:
        """
        Return when every process runs, and those with a health address answer.

        :raises StackError: a process keeps dying, or does not answer in time.
        :raises Stopped: `stop_asked` was set during the wait.
        """
        deadline = time.monotonic() + timeout_seconds
        waiting = list(self._processes.values())
        while waiting := [process for process in waiting if not self._is_ready(process)]:
            self._pause()
            for process in waiting:
                if process.quick_deaths >= MAX_QUICK_DEATHS or (
                    not self._supervise and not process.is_running
                ):
                    raise StackError(f"{process.name} does not stay up:\n{process.last_lines()}")
            if time.monotonic() > deadline:
                slow = waiting[0]
                raise StackError(
                    f"{slow.name} did not answer in {timeout_seconds:g} s:\n{slow.last_lines()}"
                )

    def stop(self) -> None:
        """Stop everything that `start` started, the servers last. A repeat changes nothing."""
        self.stop_asked.set()
        for process in self._processes.values():
            process.ask_to_stop()
        deadline = time.monotonic() + STOP_SECONDS
        for process in self._processes.values():
            process.finish(deadline=deadline)
        self.services.stop()
        self._ports.release()
        self._over.set()
        if self._supervisor:
            self._supervisor.join()

    def __enter__(self) -> Self:
        self.start()
        try:
            self.wait_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_exception: object) -> None:
        self.stop()

    # --- for tests and operators ------------------------------------------------------------------

    @property
    def base_url(self) -> str:
        """The address of the shop, without a slash at the end."""
        return environment.own_url(self.environment)

    @property
    def flower_url(self) -> str:
        return f"http://127.0.0.1:{self.environment['FLOWER_PORT']}"

    @property
    def standin_url(self) -> str:
        return f"http://127.0.0.1:{self.environment['STANDIN_PORT']}"

    @property
    def names(self) -> list[str]:
        """The processes of this stack, running or not."""
        if self._names is not None:
            return list(self._names)
        standin = [STANDIN] if environment.uses_standin(self.given) else []
        return [*procfile.commands(self._root), *standin]

    def kill(self, name: str) -> None:
        """End process `name` and its children as kill -9 would. `restart` starts it again."""
        self._processes[name].kill()

    def restart(self, name: str) -> None:
        """Stop process `name` cleanly if it runs, and start it."""
        process = self._processes[name]
        process.ask_to_stop()
        process.finish(deadline=time.monotonic() + STOP_SECONDS)
        process.start()

    def freeze(self, name: str) -> None:
        """Stop process `name` and its children with SIGSTOP, until `thaw`."""
        self._processes[name].freeze()

    def thaw(self, name: str) -> None:
        self._processes[name].thaw()

    def pids(self, name: str) -> list[int]:
        """The live processes of `name` and its children; empty when it is dead."""
        return self._processes[name].pids if name in self._processes else []

    def logs(self, name: str) -> str:
        """The log of `name`, of earlier runs on this `DATA_DIR` too."""
        return self.log_file(name).read_text(errors="replace")

    def log_file(self, name: str) -> Path:
        return self.data_dir / "log" / f"{name}.log"

    # --- parts of the start -----------------------------------------------------------------------

    def _prepare_environment(self) -> None:
        ports = self._ports.take(self.given, announce=self._announce)
        self.environment = environment.complete(
            {
                **self.given,
                **ports,
                "DATABASE_URL": self.services.database_url,
                "REDIS_URL": self.services.redis_url,
            },
            data_dir=self.data_dir,
        )

    def _manage(self, *words: str) -> None:
        """Run a command of manage.py, with its output in the log "setup"."""
        log = self.log_file("setup")
        log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        command = ["python", "manage.py", *words]
        process = Process(
            "setup", "exec " + " ".join(command), root=self._root, log=log,
            environment=self.environment | {"DATABASE_OWNER_URL": self.services.owner_url},
        )  # fmt: skip
        process.start()
        try:
            while process.is_running:
                self._pause()
            if process.returncode:
                raise StackError(f"manage.py {words[0]} failed:\n{last_lines(log, 20)}")
        finally:
            process.kill()

    def _start_processes(self) -> None:
        commands = procfile.commands(self._root) | {STANDIN: "exec python -m workers.standin"}
        for name in self.names:
            self._processes[name] = Process(
                name, commands[name], environment=self.environment, root=self._root,
                log=self.log_file(name),
            )  # fmt: skip
            self._processes[name].start()
        if self._supervise:
            self._supervisor = threading.Thread(target=self._keep_alive, name="supervisor")
            self._supervisor.start()

    def _keep_alive(self) -> None:
        # Runs until all processes have stopped: those that it has started would die with it.
        while not self._over.wait(TICK_SECONDS):
            if self.stop_asked.is_set():
                continue
            for process in self._processes.values():
                if sentence := process.revive():
                    self._announce(sentence)
            for server in self.services.servers:
                self._revive_server(server)

    def _revive_server(self, server: Server) -> None:
        try:
            if server.revive():
                self._announce(f"{server.name} had died and was started again")
        except ServiceError as error:
            self._announce(str(error))

    def _is_ready(self, process: Process) -> bool:
        if not process.is_running:
            return False
        return not health.is_known(process.name) or health.answers(process.name, self.environment)

    def _pause(self) -> None:
        if self.stop_asked.wait(TICK_SECONDS):
            raise Stopped
