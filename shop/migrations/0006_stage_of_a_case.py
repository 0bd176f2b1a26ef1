from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    """
    A case that follows a dispute says how far Razorpay has come with it; what could not be read of
    webhooks is found at once.

    The index is built concurrently and first: should that be interrupted, drop it (it is marked
    INVALID) and migrate again. The column has a default in the table, for the code of the last
    version that still runs meanwhile.
    """

    atomic = False

    dependencies = [("shop", "0005_heartbeats")]

    operations = [
        AddIndexConcurrently(
            model_name="inboxevent",
            index=models.Index(
                condition=models.Q(("result__startswith", "cannot be read")),
                fields=["received_at"],
                name="inbox_event_unreadable",
            ),
        ),
        migrations.AddField(
            model_name="case",
            name="stage",
            field=models.CharField(blank=True, db_default="", default="", max_length=16),
        ),
    ]
