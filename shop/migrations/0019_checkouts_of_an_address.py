from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    """
    Find the open checkouts of an address. Those that have ended have none, so the index is small.

    Built beside a running shop; should it be interrupted, drop the index marked INVALID and migrate
    again.
    """

    atomic = False

    dependencies = [("shop", "0018_limits_on_held_units")]

    operations = [
        AddIndexConcurrently(
            "checkoutjob",
            models.Index(
                condition=models.Q(("address_key__isnull", False)),
                fields=["address_key"],
                name="checkout_of_address",
            ),
        ),
    ]
