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

ADMIN = "admin@pakka.local"  # made by the seed
USAGE = "usage: python -m workers.stack up | demo | run COMMAND [ARGUMENT ...]"


def main(arguments: list[str]) -> int:
    """Run one command; its exit code. 0 when it was asked to stop and did."""
    match arguments:
        case ["up"]:
            return guarded(up)
        case ["demo"]:
            return guarded(show_demo)
        case ["run", *words] if words:
            return guarded(lambda: run(words[1:] if words[0] == "--" else words))
        case _:
            sys.exit(USAGE)


def guarded(command: Callable[[], int]) -> int:
    try:
        return command()
    except ServiceError as error:
        print(error, file=sys.stderr, flush=True)
        return 1
    except Stopped:
        return 0


def up() -> int:
    """Start everything, say where it is, and keep it running until SIGINT or SIGTERM."""
    stack = Stack(announce=tell)
    stop_signals.set_on_signals(stack.stop_asked)
    tell("starting PostgreSQL and Redis, then the shop ...")
    follower = Follower({name: stack.log_file(name) for name in stack.names})
    with follower:
        try:
            stack.start()
            stack.wait_ready()
            tell(where_everything_is(stack))
            tell("ready")
            stack.stop_asked.wait()
            tell("stopping ...")
        finally:
            stack.stop()
    return 0


def show_demo() -> int:
    """Start everything quietly, take one checkout through it, stop."""
    own = os.environ.get("DATA_DIR") or data_dir_of({}) / "demo"  # a stack that is up goes on
    stack = Stack(Path(own), announce=tell)
    stop_signals.set_on_signals(stack.stop_asked)
    tell("starting PostgreSQL, Redis, the shop and a stand-in Razorpay ...")
    try:
        stack.start()
        stack.wait_ready()
        demo.Storefront(
            stack.base_url, stack.standin_url, stop_asked=stack.stop_asked, tell=tell
        ).buy()
        tell("\nPaid. `make up` keeps the shop running, to click through.")
    except demo.Interrupted:
        tell("stopped")
    except demo.Deviation as deviation:
        tell(f"\nThe demo failed: {deviation}\nThe logs are in {stack.data_dir / 'log'}.")
        return 1
    finally:
        stack.stop()
    return 0


def run(command: list[str]) -> int:
    """
    Run `command` with the environment of the stack; its exit code.

    Uses the services of a stack that is up on this `DATA_DIR`, or starts them meanwhile.
    """
    data_dir = data_dir_of(os.environ)
    with Services(data_dir, attach=True) as services:
        addresses = {
            "DATABASE_URL": services.database_url,
            "DATABASE_OWNER_URL": services.owner_url,
            "REDIS_URL": services.redis_url,
        }
        completed = environment.complete({**os.environ, **addresses}, data_dir=data_dir)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C is for the command
        return subprocess.run(command, env=completed, check=False).returncode


def where_everything_is(stack: Stack) -> str:
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


def tell(line: str) -> None:
    print(line, flush=True)
