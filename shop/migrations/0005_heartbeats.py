from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    """
    Signs of life of the sweeper and of each queue, and an index for counting unsettled checkouts.

    The index is built concurrently and first: should that be interrupted, drop it (it is marked
    INVALID) and migrate again.
    """

    atomic = False

    dependencies = [
        ('shop', '0004_indexes_by_time'),
    ]

    operations = [
        AddIndexConcurrently('checkoutjob', models.Index(condition=models.Q(('state__in', ['in_review', 'refunding'])), fields=['state'], name='checkout_unsettled')),
        migrations.CreateModel(
            name='Heartbeat',
            fields=[
                ('name', models.CharField(max_length=40, primary_key=True, serialize=False)),
                ('at', models.DateTimeField()),
            ],
        ),
    ]
