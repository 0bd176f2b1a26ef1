from django.contrib.postgres.indexes import BrinIndex
from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    """
    Let operations look at a stretch of time without reading whole tables.

    BRIN on what is only appended: a few pages, next to nothing on insert. Built concurrently, so
    that a running shop goes on; should it be interrupted, drop the index marked INVALID and migrate
    again.
    """

    atomic = False

    dependencies = [
        ('shop', '0003_usage_and_retention'),
    ]

    operations = [
        AddIndexConcurrently('user', BrinIndex(autosummarize=True, fields=['created_at'], name='user_created_at')),
        AddIndexConcurrently('cart', BrinIndex(fields=['updated_at'], name='cart_updated_at', pages_per_range=16)),
        AddIndexConcurrently('syncevent', BrinIndex(autosummarize=True, fields=['at'], name='sync_event_at')),
        AddIndexConcurrently('idempotencykey', BrinIndex(autosummarize=True, fields=['created_at'], name='key_created_at')),
        AddIndexConcurrently('checkoutjob', BrinIndex(fields=['created_at'], name='checkout_created_at', pages_per_range=16)),
        AddIndexConcurrently('move', BrinIndex(autosummarize=True, fields=['at'], name='move_at')),
        AddIndexConcurrently('payment', BrinIndex(autosummarize=True, fields=['created_at'], name='payment_created_at')),
        AddIndexConcurrently('inboxevent', BrinIndex(autosummarize=True, fields=['received_at'], name='inbox_event_received_at')),
        AddIndexConcurrently('inboxevent', models.Index(condition=models.Q(('due_at', None), ('handled_at', None)), fields=['received_at'], name='inbox_event_given_up')),
        AddIndexConcurrently('refund', models.Index(condition=models.Q(('status', 'processed'), _negated=True), fields=['status', 'created_at'], name='refund_unfinished')),
    ]
