"""Attempts that came to nothing: each time that a checkout was tried and did not move, and why."""

from __future__ import annotations

from django.contrib.postgres.indexes import BrinIndex
from django.db import models

from shop.checkout.states import STEP_OF, State


class FailedAttempt(models.Model):
    """
    One attempt at the step that leads out of `state`. The checkout itself keeps only the error of
    its latest attempt, and forgets that one when it moves.
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
        """The last line, which in a traceback says what it was."""
        return self.error.strip().splitlines()[-1] if self.error.strip() else ""
