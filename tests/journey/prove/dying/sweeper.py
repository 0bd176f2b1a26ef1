"""`python -m tests.journey.prove.dying.sweeper`: the shop's sweeper, mortal at boundaries."""

from tests.journey.prove import dying
from workers import sweeper

if __name__ == "__main__":
    dying.wrong_clock()
    dying.mortal_steps()
    sweeper.ring_overdue = dying.around(sweeper.ring_overdue, "sweeper:ringing", "sweeper:rung")
    sweeper.main()
