"""The commands of `python -m workers.stack`: up, demo, run."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from shop.addresses import data_dir_of
from workers import stop_signals
from workers.stack import demo, environment
from workers.stack.log_follower import Follower
from workers.stack.server import ServiceError
from workers.stack.services import Services
from workers.stack.stack import Stack, Stopped

ADMIN = "admin@pakka.local"  # made by manage.py seed
USAGE = "usage: python -m workers.stack up | demo | run COMMAND [ARGUMENT ...]"


def main(arguments: list[str]) -> int:
    """Run one command and return its exit code: 0 also when it was asked to stop."""
    match arguments:
        case ["up"]:
            return _exit_code(up)
        case ["demo"]:
            return _exit_code(show_demo)
        case ["run", *words] if words:
            return _exit_code(lambda: run(words[1:] if words[0] == "--" else words))
        case _:
            sys.exit(USAGE)


def _exit_code(command: Callable[[], int]) -> int:
    try:
        return command()
    except ServiceError as error:
        print(error, file=sys.stderr, flush=True)
        return 1
    except Stopped:
        return 0


def up() -> int:
    """Start everything, print the addresses, and keep it running until SIGINT or SIGTERM."""
    stack = Stack(announce=announce)
    stop_signals.set_on_signals(stack.stop_asked)
    announce("starting PostgreSQL and Redis, then the shop ...")
    follower = Follower({name: stack.log_file(name) for name in stack.names})
    with follower:
        try:
            stack.start()
            stack.wait_ready()
            announce(addresses_of(stack))
            announce("ready")
            stack.stop_asked.wait()
            announce("stopping ...")
        finally:
            stack.stop()
    return 0


def show_demo() -> int:
    """Start everything, run one checkout through it, and stop."""
    own = os.environ.get("DATA_DIR") or data_dir_of({}) / "demo"  # not that of a stack that is up
    stack = Stack(Path(own), announce=announce)
    stop_signals.set_on_signals(stack.stop_asked)
    announce("starting PostgreSQL, Redis, the shop and a stand-in Razorpay ...")
    try:
        stack.start()
        stack.wait_ready()
        demo.Storefront(
            stack.base_url, stack.standin_url, stop_asked=stack.stop_asked, announce=announce
        ).buy()
        announce("\nPaid. `make up` keeps the shop running, to try in a browser.")
    except demo.Interrupted:
        announce("stopped")
    except demo.DemoFailed as error:
        announce(f"\nThe demo failed: {error}\nThe logs are in {stack.data_dir / 'log'}.")
        return 1
    finally:
        stack.stop()
    return 0


def run(command: list[str]) -> int:
    """
    Run `command` with the environment of the stack, and return its exit code.

    Uses the servers of a stack that is up on this `DATA_DIR`, or starts them for the command.
    """
    data_dir = data_dir_of(os.environ)
    with Services(data_dir, attach=True) as services:
        addresses = {
            "DATABASE_URL": services.database_url,
            "DATABASE_OWNER_URL": services.owner_url,
            "REDIS_URL": services.redis_url,
        }
        completed = environment.complete({**os.environ, **addresses}, data_dir=data_dir)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the command
        return subprocess.run(command, env=completed, check=False).returncode


def addresses_of(stack: Stack) -> str:
    environ, base = stack.environment, stack.base_url
    secrets_file = stack.data_dir / environment.SECRETS_FILE
    places = {
        "shop": f"{base}/",
        "API docs": f"{base}/api/docs/",
        "admin": f"{base}/admin/   user: {ADMIN}   password: ADMIN_PASSWORD in {secrets_file}",
        "operations": f"{base}/ops/   (sign in to the admin first)",
        "Flower": f"{stack.flower_url}/   login: {environ['FLOWER_BASIC_AUTH']}",
    }
    if environment.STANDIN in stack.names:
        places["stand-in"] = f"{stack.standin_url}/   plays Razorpay"
    return "\n".join(["", *(f"  {name:<11} {place}" for name, place in places.items()), ""])


def announce(line: str) -> None:
    print(line, flush=True)
