from django.db import migrations, models


class Migration(migrations.Migration):
    """
    A case may close by itself, and then says why. Two kinds more: a refund that was made twice, and
    news of money that could not be applied.

    The constraints are checked at once: there are few cases, and no buyer waits for this table.
    """

    dependencies = [("shop", "0013_tokens_end_at_sign_out")]

    operations = [
        migrations.RemoveConstraint(model_name="case", name="case_closed_by_somebody"),
        migrations.RemoveConstraint(model_name="case", name="case_kind_known"),
        migrations.AddConstraint(
            model_name="case",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("kind__in", ["conflict", "unserved", "refund_failed", "refund_twice", "settle_failed", "dispute"])
                ),
                name="case_kind_known",
            ),
        ),
        migrations.AddConstraint(
            model_name="case",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("closed_at", None), ("closed_by", None)),
                    models.Q(
                        ("closed_at__isnull", False),
                        models.Q(
                            ("closed_by__isnull", False),
                            models.Q(("closed_because", ""), _negated=True),
                            _connector="OR",
                        ),
                    ),
                    _connector="OR",
                ),
                name="case_closed_by_somebody",
            ),
        ),
    ]
