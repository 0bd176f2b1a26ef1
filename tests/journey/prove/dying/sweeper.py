"""
`python -m tests.journey.prove.dying.sweeper`: the shop's sweeper, mortal at boundaries. It runs the
retention rules in every sweep, not once a minute.
"""

from datetime import timedelta

from tests.journey.prove import dying
from workers import sweeper

if __name__ == "__main__":
    dying.wrong_clock()
    dying.mortal_steps()
    sweeper.ring_overdue = dying.around(sweeper.ring_overdue, "sweeper:ringing", "sweeper:rung")
    sweeper.CHORES = tuple(
        (timedelta() if chore is sweeper.retention.prune_some else period, chore)
        for period, chore in sweeper.CHORES
    )
    sweeper.main()
