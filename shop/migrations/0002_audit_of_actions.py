"""
What people do by hand leaves an entry that nobody can change; cases are closed by somebody; a
webhook knows which Razorpay order it tells of. The new columns have defaults in the table, for the
code of the last version that still runs meanwhile.
"""

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

# Rows only: a test that empties all tables uses TRUNCATE, which has no rows to refuse.
GUARD = """
    CREATE FUNCTION shop_audit_is_kept() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        RAISE EXCEPTION 'the audit trail is only ever added to' USING ERRCODE = '23001';
    END $$;
    CREATE TRIGGER shop_audit_is_kept BEFORE UPDATE OR DELETE ON shop_auditentry
        FOR EACH ROW EXECUTE FUNCTION shop_audit_is_kept();
"""
NO_GUARD = """
    DROP TRIGGER shop_audit_is_kept ON shop_auditentry;
    DROP FUNCTION shop_audit_is_kept();
"""


class Migration(migrations.Migration):
    dependencies = [("shop", "0001_initial")]

    operations = [
        migrations.CreateModel(
            name="AuditEntry",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("key", models.UUIDField(unique=True)),
                ("at", models.DateTimeField()),
                (
                    "actor",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                ("action", models.CharField(max_length=16)),
                ("reason", models.CharField(max_length=500)),
                ("checkout_id", models.UUIDField(blank=True, null=True)),
                ("subject", models.CharField(max_length=120)),
                ("outcome", models.CharField(max_length=300)),
            ],
            options={
                "verbose_name_plural": "audit entries",
                "ordering": ("-id",),
                "permissions": [
                    (
                        "mend_checkout",
                        "Can mend checkouts, cases, webhooks: all but sending money back",
                    ),
                    ("refund_payment", "Can send money back"),
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            action__in=[
                                "retry",
                                "ask",
                                "cancel",
                                "capture",
                                "refund",
                                "accept_money",
                                "give_back",
                                "close_case",
                                "replay",
                                "resend",
                            ]
                        ),
                        name="audit_entry_action_known",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("reason", ""), _negated=True),
                        name="audit_entry_says_why",
                    ),
                ],
                "indexes": [
                    models.Index(
                        condition=models.Q(("checkout_id__isnull", False)),
                        fields=["checkout_id"],
                        name="audit_entry_of_checkout",
                    ),
                ],
            },
        ),
        migrations.RunSQL(GUARD, NO_GUARD),
        migrations.AddField(
            model_name="case",
            name="closed_because",
            field=models.CharField(blank=True, db_default="", default="", max_length=500),
        ),
        migrations.AddField(
            model_name="case",
            name="closed_by",
            field=models.ForeignKey(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to=settings.AUTH_USER_MODEL,
            ),
        ),
        migrations.AddConstraint(
            model_name="case",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("closed_at", None), ("closed_by", None)),
                    models.Q(("closed_at__isnull", False), ("closed_by__isnull", False)),
                    _connector="OR",
                ),
                name="case_closed_by_somebody",
            ),
        ),
        migrations.AddIndex(
            model_name="case",
            index=models.Index(
                condition=models.Q(("closed_at", None)), fields=["opened_at"], name="case_open"
            ),
        ),
        migrations.AddField(
            model_name="inboxevent",
            name="gateway_order_id",
            field=models.CharField(blank=True, db_default="", default="", max_length=64),
        ),
        migrations.AddIndex(
            model_name="inboxevent",
            index=models.Index(
                condition=models.Q(("gateway_order_id", ""), _negated=True),
                fields=["gateway_order_id"],
                name="inbox_event_of_order",
            ),
        ),
    ]
