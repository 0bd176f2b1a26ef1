"""Start the stand-in: `python -m workers.standin [--port N]`."""

import asyncio
import logging
import os
import signal
import sys

from workers.standin.app import listen
from workers.standin.settings import Settings, from_environment
from workers.standin.switches import BadSetting


async def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT, then stop at once: nothing here needs saving."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for asked in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(asked, stopped.set)
    port = listen(settings)
    print(f"stand-in Razorpay on http://{settings.host}:{port}", flush=True)  # noqa: T201
    await stopped.wait()


def main() -> None:
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s %(message)s")
    try:
        settings = from_environment(os.environ, sys.argv[1:])
        asyncio.run(run(settings))
    except (BadSetting, OSError) as error:
        sys.exit(f"standin: {error}")


if __name__ == "__main__":
    main()
