from django.db import migrations, models


class Migration(migrations.Migration):
    """
    When a checkout's units must be free again, and a keyed hash of the address it came from.

    Two columns that may be null: older code goes on writing its rows.
    """

    dependencies = [("shop", "0017_stock_of_orders_is_kept")]

    operations = [
        migrations.AddField(
            model_name="checkoutjob",
            name="hold_until",
            field=models.DateTimeField(blank=True, editable=False, null=True),
        ),
        migrations.AddField(
            model_name="checkoutjob",
            name="address_key",
            field=models.BigIntegerField(blank=True, editable=False, null=True),
        ),
    ]
