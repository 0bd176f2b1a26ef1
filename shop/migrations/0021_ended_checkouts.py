from django.contrib.postgres.operations import AddIndexConcurrently, RemoveIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    """
    Find checkouts that have ended by their state, newest first, however many there are.

    The new index also serves what the one of unsettled checkouts did, which therefore goes. Both
    beside a running shop; should it be interrupted, drop the index marked INVALID and migrate again.
    """

    atomic = False

    dependencies = [("shop", "0020_orders_nobody_knows")]

    operations = [
        AddIndexConcurrently(
            "checkoutjob",
            models.Index(
                condition=models.Q(
                    (
                        "state__in",
                        [
                            "cancelled",
                            "expired",
                            "failed",
                            "in_review",
                            "paid",
                            "refunded",
                            "refunding",
                        ],
                    )
                ),
                fields=["state", "-created_at"],
                name="checkout_ended",
            ),
        ),
        RemoveIndexConcurrently("checkoutjob", "checkout_unsettled"),
    ]
