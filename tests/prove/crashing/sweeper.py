"""
`python -m tests.prove.crashing.sweeper`: the shop's sweeper, with boundaries.

It runs the retention rules in every sweep, not once a minute.
"""

from datetime import timedelta

from tests.prove import crashing
from workers import sweeper

if __name__ == "__main__":
    crashing.wrong_clock()
    crashing.crash_in_steps()
    sweeper.notify_overdue = crashing.around(
        sweeper.notify_overdue, "sweeper:notifying", "sweeper:notified"
    )
    sweeper.PERIODIC_JOBS = tuple(
        (timedelta() if job is sweeper.retention.prune_some else period, job)
        for period, job in sweeper.PERIODIC_JOBS
    )
    sweeper.main()
