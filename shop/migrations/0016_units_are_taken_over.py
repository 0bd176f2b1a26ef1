from django.db import migrations, models


class Migration(migrations.Migration):
    """A checkout names the orders whose held units it takes over; [] for all that are there."""

    dependencies = [("shop", "0015_polls_without_an_answer")]

    operations = [
        migrations.AddField(
            model_name="checkoutjob",
            name="takes_over",
            field=models.JSONField(db_default=[], default=list),
        ),
    ]
