from django.db import migrations, models

ACTIONS = [
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
    "restart",
]


class Migration(migrations.Migration):
    """
    The trail knows one more action: workers that were asked to start anew.

    The check is replaced in one transaction, under a lock of the table. Only people write to it,
    and it is read through in no time. The trigger that keeps its rows stays as it is.
    """

    dependencies = [("shop", "0006_stage_of_a_case")]

    operations = [
        migrations.RemoveConstraint(model_name="auditentry", name="audit_entry_action_known"),
        migrations.AddConstraint(
            model_name="auditentry",
            constraint=models.CheckConstraint(
                condition=models.Q(action__in=ACTIONS), name="audit_entry_action_known"
            ),
        ),
        migrations.AlterModelOptions(
            name="heartbeat",
            options={"verbose_name": "sign of life", "verbose_name_plural": "signs of life"},
        ),
    ]
