"""The addresses of the stand-in."""

from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application

from workers.standin import pay
from workers.standin.control.handler import ControlHandler
from workers.standin.server import ApiHandler
from workers.standin.settings import Settings
from workers.standin.standin import Standin

MAX_BODY_BYTES = 1024 * 1024


def listen(settings: Settings) -> int:
    """
    Serve in the running event loop. Returns the port; port 0 takes a free one.

    :raises OSError: the port is taken.
    """
    shared = {"standin": Standin(settings)}
    application = Application(
        [
            (r"/_standin/(.*)", ControlHandler, shared),
            *((path, handler, shared) for path, handler in pay.ADDRESSES),
            (r"/v1/(.*)", ApiHandler, shared),
            (r"/(.*)", ApiHandler, shared),
        ],
        log_function=lambda handler: None,
    )
    server = HTTPServer(application, max_body_size=MAX_BODY_BYTES)
    sockets = bind_sockets(settings.port, settings.host)
    server.add_sockets(sockets)
    port: int = sockets[0].getsockname()[1]
    return port
