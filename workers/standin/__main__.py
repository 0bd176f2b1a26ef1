"""Start the stand-in: `python -m workers.standin [--port N]`."""

import asyncio
import json
import logging
import os
import signal
import sys
from datetime import UTC, datetime

from workers.standin.app import listen
from workers.standin.json_fields import BadSetting
from workers.standin.settings import Settings, from_environment

logger = logging.getLogger("workers.standin")


class Json(logging.Formatter):
    """Formats a record as one line of JSON, as the shop does."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "event": record.getMessage(),
            "level": record.levelname.lower(),
            "logger": record.name,
            "timestamp": datetime.fromtimestamp(record.created, UTC).isoformat(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)


async def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT, then stop at once: nothing is saved."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for asked in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(asked, stopped.set)
    port = listen(settings)
    logger.info("the stand-in for Razorpay listens on http://%s:%s", settings.host, port)
    await stopped.wait()


def main() -> None:
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(Json())
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    logger.setLevel(logging.INFO)
    try:
        settings = from_environment(os.environ, sys.argv[1:])
        asyncio.run(run(settings))
    except (BadSetting, OSError) as error:
        sys.exit(f"standin: {error}")


if __name__ == "__main__":
    main()
