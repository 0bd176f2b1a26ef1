import django.contrib.postgres.indexes
import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    """
    Why a checkout did not move, each time that it was tried; and tables by the names that people
    use. Only adds: what runs already neither reads nor writes the new table.
    """

    dependencies = [("shop", "0008_limits_of_the_gateway")]

    operations = [
        migrations.CreateModel(
            name="FailedAttempt",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("state", models.CharField(max_length=20)),
                ("number", models.PositiveIntegerField()),
                ("error", models.TextField()),
                ("at", models.DateTimeField()),
                (
                    "job",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="failed_attempts",
                        to="shop.checkoutjob",
                    ),
                ),
            ],
            options={
                "ordering": ("id",),
                "indexes": [
                    django.contrib.postgres.indexes.BrinIndex(
                        autosummarize=True, fields=["at"], name="failed_attempt_at"
                    )
                ],
            },
        ),
        migrations.AlterModelOptions(name="checkoutjob", options={"verbose_name": "checkout"}),
        migrations.AlterModelOptions(
            name="gatewayorder", options={"verbose_name": "Razorpay order"}
        ),
        migrations.AlterModelOptions(
            name="inboxevent", options={"ordering": ("id",), "verbose_name": "webhook"}
        ),
        migrations.AlterModelOptions(
            name="syncevent", options={"verbose_name": "cart sync event"}
        ),
    ]
