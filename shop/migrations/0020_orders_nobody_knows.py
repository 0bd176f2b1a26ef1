from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    """
    A webhook that names a Razorpay order that we do not know waits for Razorpay to say whose it is.

    The column is nullable, so no row is written; the index is built concurrently and is empty at
    first. Should that be interrupted, drop the index (it is marked INVALID) and migrate again.
    """

    atomic = False

    dependencies = [("shop", "0019_checkouts_of_an_address")]

    operations = [
        migrations.AddField(
            model_name="inboxevent",
            name="ask_at",
            field=models.DateTimeField(blank=True, null=True),
        ),
        AddIndexConcurrently(
            model_name="inboxevent",
            index=models.Index(
                condition=models.Q(("ask_at__isnull", False)),
                fields=["ask_at"],
                name="inbox_event_to_ask",
            ),
        ),
    ]
