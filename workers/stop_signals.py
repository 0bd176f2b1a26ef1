"""
Signals that ask a process to stop, as a `threading.Event`.

Python runs a signal handler between two instructions of the main thread, even of an earlier
handler. `Event.set` holds a lock that is not re-entrant, so a handler that calls it deadlocks when
a second signal interrupts it. Here the handler does nothing: the interpreter writes the signal's
number to a socket (`signal.set_wakeup_fd`), and a thread reads it and sets the event.
"""

import atexit
import signal
import socket
import threading

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def set_on_signals(stop_asked: threading.Event) -> None:
    """
    Set `stop_asked` on SIGINT, SIGTERM or SIGHUP, from now until the process ends.

    Call once, from the main thread. Repeated signals change nothing, not even while the interpreter
    exits.
    """
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    for number in SIGNALS:
        signal.signal(number, lambda _number, _frame: None)
    atexit.register(_ignore_signals)
    threading.Thread(
        target=_set_when_written, args=(reader, writer, stop_asked), name="signals", daemon=True
    ).start()


def _set_when_written(
    reader: socket.socket, _kept_open: socket.socket, stop_asked: threading.Event
) -> None:
    while reader.recv(64):
        stop_asked.set()


def _ignore_signals() -> None:
    """Ignore late signals: the interpreter would restore the default, which ends the process."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
