from django.contrib.postgres.fields import ArrayField
from django.db import migrations, models

KINDS = [
    "conflict",
    "unserved",
    "refund_failed",
    "refund_twice",
    "settle_failed",
    "dispute",
    "poll_failed",
    "unreadable",
]


class Migration(migrations.Migration):
    """
    Count the polls of a Razorpay order that got no answer, and the entities whose calls fail.

    The new columns have constant defaults in the table and no check, so no row is read or written.
    The check of `case` is replaced in one transaction, under a lock of the table, which is small.
    """

    dependencies = [("shop", "0014_cases_that_close_by_themselves")]

    operations = [
        migrations.AddField(
            model_name="gatewayorder",
            name="unanswered",
            field=models.SmallIntegerField(db_default=0, default=0),
        ),
        migrations.AddField(
            model_name="gatewaypressure",
            name="buyers_probe_at",
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="gatewaypressure",
            name="failing",
            field=ArrayField(
                base_field=models.CharField(max_length=80), db_default=[], default=list, size=None
            ),
        ),
        migrations.RemoveConstraint(model_name="case", name="case_kind_known"),
        migrations.AddConstraint(
            model_name="case",
            constraint=models.CheckConstraint(
                condition=models.Q(kind__in=KINDS), name="case_kind_known"
            ),
        ),
    ]
