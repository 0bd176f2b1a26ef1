from django.db import migrations, models


class Migration(migrations.Migration):
    """How long a 429 wants Razorpay left alone is kept apart from the circuit breaker's pause."""

    dependencies = [("shop", "0007_restart_of_workers")]

    operations = [
        migrations.AddField(
            model_name="gatewaypressure",
            name="limited_until",
            field=models.DateTimeField(blank=True, null=True),
        ),
    ]
