"""Failed attempts: each time that a step tried a checkout in vain, and why."""

from __future__ import annotations

from django.contrib.postgres.indexes import BrinIndex
from django.db import models

from shop.checkout.states import STEP_OF, State


class FailedAttempt(models.Model):
    """
    One attempt at the step of `state`. The checkout itself keeps the error of its latest attempt
    only, until its next transition.
    """

    job = models.ForeignKey("CheckoutJob", on_delete=models.CASCADE, related_name="failed_attempts")
    state = models.CharField(max_length=20)
    number = models.PositiveIntegerField()
    error = models.TextField()  # a traceback, or what Razorpay said
    at = models.DateTimeField()

    class Meta:
        ordering = ("id",)
        indexes = [BrinIndex(fields=["at"], name="failed_attempt_at", autosummarize=True)]

    def __str__(self) -> str:
        return f"attempt {self.number}: {self.gist}"

    @property
    def step(self) -> str:
        return STEP_OF.get(State(self.state), self.state)

    @property
    def gist(self) -> str:
        """The last line of the error; in a traceback it names the error."""
        return self.error.strip().splitlines()[-1] if self.error.strip() else ""
