from django.db import migrations

MAKE_DUE = """
    UPDATE shop_refund SET due_at = now()
    WHERE status = 'pending' AND due_at IS NULL AND reason <> 'elsewhere'
"""


class Migration(migrations.Migration):
    """
    Have refunds asked about that were pending before pending refunds were asked about.

    Few rows: Razorpay answers most refunds as processed. Only those that we sent: older code that
    meets one meanwhile looks for it at Razorpay and sends with its key, so none goes out twice. It
    would send those that somebody made elsewhere, of which webhooks tell as before.
    """

    dependencies = [("shop", "0009_failed_attempts")]

    operations = [migrations.RunSQL(MAKE_DUE, migrations.RunSQL.noop)]
