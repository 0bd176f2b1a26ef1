"""Run work at once in this thread, or at the same moment in several."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any, TypeVar

from django.db import connection

Result = TypeVar("Result")


class _Inline(Executor):
    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except BaseException as error:  # noqa: BLE001 - as a future does
            future.set_exception(error)
        return future


def inline() -> Executor:
    """An executor that calls at once in this thread, for tests without concurrency."""
    return _Inline()


def all_at_once(*works: Callable[[], Result]) -> list[Result | Exception]:
    """
    Run each of `works` in its own thread and connection, all starting at the same moment.

    Returns what they returned or raised, in the order given.
    """
    barrier = threading.Barrier(len(works))

    def started(work: Callable[[], Result]) -> Result | Exception:
        try:
            connection.ensure_connection()
            barrier.wait(timeout=20)
            return work()
        except Exception as error:  # noqa: BLE001 - the test looks at it
            return error
        finally:
            connection.close()

    with ThreadPoolExecutor(len(works)) as pool:
        return list(pool.map(started, works))
