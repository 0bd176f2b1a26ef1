"""
The faults by name. Each function causes one, removes the cause, and describes what it did.

Docstrings say which faults are simulated: a slow disk and a wrong clock are not the machine's own.
"""

from tests.prove.faults import gateway, locks, messages, processes, rows, services
from tests.prove.faults.registry import FAULTS, GROUPS, FaultContext

__all__ = [
    "FAULTS", "GROUPS", "FaultContext",
    "gateway", "locks", "messages", "processes", "rows", "services",
]  # fmt: skip
