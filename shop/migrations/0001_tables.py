import django.contrib.postgres.fields
import django.contrib.postgres.indexes
import django.db.models.deletion
import django.utils.timezone
import shop.checkout.states
import shop.orders
import shop.payments.inbox
import shop.payments.refunds
import uuid
from django.conf import settings
from django.db import migrations, models

from shop.migrations import _triggers


class Migration(migrations.Migration):
    """All tables of the shop, and the triggers that keep stock rows and the audit log."""

    initial = True

    dependencies = [
        ('auth', '0012_alter_user_first_name_max_length'),
    ]

    operations = [
        migrations.CreateModel(
            name='CircuitBreaker',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('open_until', models.DateTimeField(blank=True, null=True)),
                ('limited_until', models.DateTimeField(blank=True, null=True)),
                ('buyers_probe_at', models.DateTimeField(blank=True, null=True)),
                ('failing', django.contrib.postgres.fields.ArrayField(base_field=models.CharField(max_length=80), db_default=[], default=list, size=None)),
                ('failures', models.PositiveIntegerField(default=0)),
                ('calls_left', models.FloatField(default=0)),
                ('refilled_at', models.DateTimeField(blank=True, null=True)),
            ],
        ),
        migrations.CreateModel(
            name='Heartbeat',
            fields=[
                ('name', models.CharField(max_length=40, primary_key=True, serialize=False)),
                ('at', models.DateTimeField()),
            ],
            options={
                'verbose_name': 'heartbeat',
            },
        ),
        migrations.CreateModel(
            name='Product',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('name', models.CharField(max_length=200)),
                ('slug', models.SlugField(max_length=200, unique=True)),
                ('description', models.TextField(blank=True)),
                ('image', models.CharField(blank=True, max_length=300)),
                ('is_active', models.BooleanField(default=True)),
            ],
            options={
                'ordering': ('id',),
            },
        ),
        migrations.CreateModel(
            name='RetentionMark',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('name', models.CharField(max_length=40, unique=True)),
                ('until', models.DateTimeField(blank=True, null=True)),
                ('after_id', models.BigIntegerField(blank=True, null=True)),
                ('failing_since', models.DateTimeField(blank=True, null=True)),
                ('error', models.TextField(blank=True, db_default='', default='')),
            ],
        ),
        migrations.CreateModel(
            name='Variant',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('sku', models.CharField(max_length=64, unique=True)),
                ('name', models.CharField(max_length=200)),
                ('price_paise', models.BigIntegerField()),
                ('is_active', models.BooleanField(default=True)),
                ('product', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='variants', to='shop.product')),
            ],
            options={
                'ordering': ('id',),
            },
        ),
        migrations.CreateModel(
            name='User',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('password', models.CharField(max_length=128, verbose_name='password')),
                ('last_login', models.DateTimeField(blank=True, null=True, verbose_name='last login')),
                ('is_superuser', models.BooleanField(default=False, help_text='Designates that this user has all permissions without explicitly assigning them.', verbose_name='superuser status')),
                ('email', models.EmailField(blank=True, max_length=254, null=True, unique=True)),
                ('is_guest', models.BooleanField(default=False)),
                ('is_staff', models.BooleanField(default=False)),
                ('is_active', models.BooleanField(default=True)),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now)),
                ('sign_outs', models.PositiveIntegerField(db_default=0, default=0, editable=False)),
                ('groups', models.ManyToManyField(blank=True, help_text='The groups this user belongs to. A user will get all permissions granted to each of their groups.', related_name='user_set', related_query_name='user', to='auth.group', verbose_name='groups')),
                ('user_permissions', models.ManyToManyField(blank=True, help_text='Specific permissions for this user.', related_name='user_set', related_query_name='user', to='auth.permission', verbose_name='user permissions')),
            ],
        ),
        migrations.CreateModel(
            name='AuditEntry',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('key', models.UUIDField(unique=True)),
                ('at', models.DateTimeField(verbose_name='time')),
                ('action', models.CharField(max_length=16)),
                ('reason', models.CharField(max_length=500)),
                ('checkout_id', models.UUIDField(blank=True, null=True)),
                ('subject', models.CharField(max_length=120)),
                ('outcome', models.CharField(max_length=300)),
                ('actor', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL, verbose_name='user')),
            ],
            options={
                'verbose_name_plural': 'audit log',
                'ordering': ('-id',),
                'permissions': [('operate_checkout', 'Can act on checkouts, cases and webhooks, but not refund'), ('refund_payment', 'Can send money back')],
            },
        ),
        migrations.CreateModel(
            name='Cart',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('version', models.PositiveIntegerField(default=1)),
                ('shown', models.BigIntegerField()),
                ('created_at', models.DateTimeField()),
                ('updated_at', models.DateTimeField()),
                ('owner', models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, to=settings.AUTH_USER_MODEL)),
            ],
        ),
        migrations.CreateModel(
            name='CheckoutJob',
            fields=[
                ('id', models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ('cart_version', models.PositiveIntegerField()),
                ('currency', models.CharField(max_length=3)),
                ('shipping_address', models.JSONField()),
                ('billing_address', models.JSONField()),
                ('email', models.CharField(blank=True, max_length=254)),
                ('terms_hash', models.CharField(max_length=64)),
                ('lines', models.JSONField()),
                ('items_count', models.PositiveIntegerField()),
                ('amount_paise', models.BigIntegerField()),
                ('takes_over', models.JSONField(db_default=[], default=list)),
                ('state', models.CharField(default=shop.checkout.states.State['QUEUED'], max_length=20)),
                ('version', models.PositiveIntegerField(default=1)),
                ('due_at', models.DateTimeField(blank=True, null=True)),
                ('claim', models.UUIDField(blank=True, null=True)),
                ('attempts', models.PositiveIntegerField(default=0)),
                ('waiting_for', models.CharField(blank=True, max_length=200)),
                ('expires_at', models.DateTimeField(blank=True, null=True)),
                ('hold_until', models.DateTimeField(blank=True, editable=False, null=True)),
                ('address_key', models.BigIntegerField(blank=True, editable=False, null=True)),
                ('returned_at', models.DateTimeField(blank=True, null=True)),
                ('error_code', models.CharField(blank=True, max_length=40)),
                ('error_message', models.CharField(blank=True, max_length=300)),
                ('error_details', models.JSONField(default=dict)),
                ('last_error', models.TextField(blank=True)),
                ('created_at', models.DateTimeField()),
                ('updated_at', models.DateTimeField()),
                ('cart', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='checkouts', to='shop.cart')),
                ('owner', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='checkouts', to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'verbose_name': 'checkout',
            },
        ),
        migrations.CreateModel(
            name='FailedAttempt',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('state', models.CharField(max_length=20)),
                ('number', models.PositiveIntegerField()),
                ('error', models.TextField()),
                ('at', models.DateTimeField()),
                ('job', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='failed_attempts', to='shop.checkoutjob')),
            ],
            options={
                'ordering': ('id',),
            },
        ),
        migrations.CreateModel(
            name='IdempotencyKey',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('key', models.CharField(max_length=255)),
                ('request_hash', models.CharField(max_length=64)),
                ('created_at', models.DateTimeField()),
                ('job', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='keys', to='shop.checkoutjob')),
                ('owner', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='+', to=settings.AUTH_USER_MODEL)),
            ],
        ),
        migrations.CreateModel(
            name='InboxEvent',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('gateway_event_id', models.CharField(max_length=64, unique=True)),
                ('body', models.BinaryField()),
                ('received_at', models.DateTimeField()),
                ('due_at', models.DateTimeField(blank=True, null=True)),
                ('handled_at', models.DateTimeField(blank=True, null=True)),
                ('attempts', models.PositiveIntegerField(default=0)),
                ('name', models.CharField(blank=True, max_length=64)),
                ('gateway_order_id', models.CharField(blank=True, db_default='', default='', max_length=64)),
                ('outcome', models.CharField(blank=True, db_default='', default='', max_length=16)),
                ('detail', models.CharField(blank=True, db_default='', default='', max_length=200)),
                ('last_error', models.TextField(blank=True)),
                ('resolve_at', models.DateTimeField(blank=True, null=True)),
            ],
            options={
                'verbose_name': 'webhook',
                'ordering': ('id',),
                'indexes': [models.Index(condition=models.Q(('due_at__isnull', False)), fields=['due_at'], name='inbox_event_due'), models.Index(condition=models.Q(('due_at', None), ('handled_at', None)), fields=['received_at'], name='inbox_event_given_up'), models.Index(condition=models.Q(('outcome__in', (shop.payments.inbox.EventOutcome['UNRESOLVED'], shop.payments.inbox.EventOutcome['OTHER_AMOUNT'], shop.payments.inbox.EventOutcome['UNKNOWN_PAYMENT'], shop.payments.inbox.EventOutcome['UNREADABLE']))), fields=['received_at'], name='inbox_event_needs_staff'), models.Index(condition=models.Q(('resolve_at__isnull', False)), fields=['resolve_at'], name='inbox_event_to_resolve'), django.contrib.postgres.indexes.BrinIndex(autosummarize=True, fields=['received_at'], name='inbox_event_received_at'), models.Index(condition=models.Q(('gateway_order_id', ''), _negated=True), fields=['gateway_order_id'], name='inbox_event_of_order')],
                'constraints': [models.CheckConstraint(condition=models.Q(('handled_at', None), ('due_at', None), _connector='OR'), name='inbox_handled_is_not_due'), models.CheckConstraint(condition=models.Q(('outcome__in', ['', shop.payments.inbox.EventOutcome['SETTLED'], shop.payments.inbox.EventOutcome['NO_MONEY'], shop.payments.inbox.EventOutcome['NOT_OURS'], shop.payments.inbox.EventOutcome['RESOLVING'], shop.payments.inbox.EventOutcome['UNRESOLVED'], shop.payments.inbox.EventOutcome['OTHER_AMOUNT'], shop.payments.inbox.EventOutcome['UNKNOWN_PAYMENT'], shop.payments.inbox.EventOutcome['UNREADABLE']])), name='inbox_outcome_known')],
            },
        ),
        migrations.CreateModel(
            name='Order',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('number', models.CharField(max_length=40, unique=True)),
                ('currency', models.CharField(max_length=3)),
                ('amount_paise', models.BigIntegerField()),
                ('stock_state', models.CharField(default=shop.orders.StockState['HELD'], max_length=8)),
                ('shipping_address', models.JSONField()),
                ('billing_address', models.JSONField()),
                ('created_at', models.DateTimeField()),
                ('paid_at', models.DateTimeField(blank=True, null=True)),
                ('paid_by', models.CharField(blank=True, max_length=64)),
                ('owner', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='orders', to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'ordering': ('-id',),
            },
        ),
        migrations.CreateModel(
            name='GatewayOrder',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('gateway_order_id', models.CharField(blank=True, max_length=64, null=True, unique=True)),
                ('is_duplicate', models.BooleanField(default=False)),
                ('amount_paise', models.BigIntegerField()),
                ('currency', models.CharField(max_length=3)),
                ('create_sent_at', models.DateTimeField(blank=True, null=True)),
                ('created_at', models.DateTimeField()),
                ('poll_at', models.DateTimeField(blank=True, null=True)),
                ('polled_at', models.DateTimeField(blank=True, null=True)),
                ('poll_count', models.PositiveIntegerField(default=0)),
                ('failed_polls', models.SmallIntegerField(db_default=0, default=0)),
                ('order', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='gateway_orders', to='shop.order')),
            ],
            options={
                'verbose_name': 'Razorpay order',
            },
        ),
        migrations.AddField(
            model_name='checkoutjob',
            name='order',
            field=models.OneToOneField(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='checkout', to='shop.order'),
        ),
        migrations.CreateModel(
            name='Case',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('kind', models.CharField(max_length=16)),
                ('reference', models.CharField(max_length=64)),
                ('text', models.CharField(max_length=300)),
                ('stage', models.CharField(blank=True, db_default='', default='', max_length=16)),
                ('opened_at', models.DateTimeField()),
                ('closed_at', models.DateTimeField(blank=True, null=True)),
                ('closed_because', models.CharField(blank=True, db_default='', default='', max_length=500)),
                ('closed_by', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('order', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='cases', to='shop.order')),
            ],
            options={
                'ordering': ('-id',),
            },
        ),
        migrations.CreateModel(
            name='Payment',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('gateway_payment_id', models.CharField(max_length=64, unique=True)),
                ('amount_paise', models.BigIntegerField()),
                ('currency', models.CharField(max_length=8)),
                ('status', models.CharField(max_length=12)),
                ('amount_refunded_paise', models.BigIntegerField(default=0)),
                ('method', models.CharField(blank=True, max_length=32)),
                ('error_code', models.CharField(blank=True, max_length=64)),
                ('error_description', models.CharField(blank=True, max_length=300)),
                ('first_reported_via', models.CharField(max_length=16)),
                ('captured_via', models.CharField(blank=True, max_length=16)),
                ('captured_at', models.DateTimeField(blank=True, null=True)),
                ('capture_at', models.DateTimeField(blank=True, null=True)),
                ('capture_attempts', models.PositiveIntegerField(default=0)),
                ('created_at', models.DateTimeField()),
                ('updated_at', models.DateTimeField()),
                ('gateway_order', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='payments', to='shop.gatewayorder')),
            ],
            options={
                'ordering': ('id',),
            },
        ),
        migrations.CreateModel(
            name='Refund',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('amount_paise', models.BigIntegerField()),
                ('reason', models.CharField(max_length=12)),
                ('note', models.CharField(blank=True, max_length=300)),
                ('key', models.CharField(max_length=40, unique=True)),
                ('gateway_refund_id', models.CharField(blank=True, max_length=64, null=True, unique=True)),
                ('status', models.CharField(default=shop.payments.refunds.RefundStatus['DUE'], max_length=10)),
                ('due_at', models.DateTimeField(blank=True, null=True)),
                ('claim', models.UUIDField(blank=True, null=True)),
                ('attempts', models.PositiveIntegerField(default=0)),
                ('last_error', models.CharField(blank=True, max_length=300)),
                ('created_at', models.DateTimeField()),
                ('updated_at', models.DateTimeField()),
                ('payment', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='refunds', to='shop.payment')),
                ('requested_by', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'ordering': ('id',),
            },
        ),
        migrations.CreateModel(
            name='StockLevel',
            fields=[
                ('variant', models.OneToOneField(on_delete=django.db.models.deletion.PROTECT, primary_key=True, related_name='stock', serialize=False, to='shop.variant')),
                ('on_hand', models.PositiveIntegerField()),
                ('held', models.PositiveIntegerField(default=0)),
            ],
        ),
        migrations.CreateModel(
            name='OrderLine',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('sku', models.CharField(max_length=64)),
                ('name', models.CharField(max_length=420)),
                ('units', models.PositiveIntegerField()),
                ('unit_price_paise', models.BigIntegerField()),
                ('order', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='lines', to='shop.order')),
                ('variant', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='shop.variant')),
            ],
            options={
                'ordering': ('id',),
            },
        ),
        migrations.CreateModel(
            name='CartItem',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('quantity', models.PositiveIntegerField()),
                ('cart', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='items', to='shop.cart')),
                ('variant', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='shop.variant')),
            ],
        ),
        migrations.CreateModel(
            name='SyncEvent',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('kind', models.CharField(max_length=40)),
                ('is_refusal', models.BooleanField(default=False)),
                ('cart_id_seen', models.BigIntegerField(blank=True, null=True)),
                ('cart_version_seen', models.BigIntegerField(blank=True, null=True)),
                ('detail', models.CharField(blank=True, max_length=500)),
                ('at', models.DateTimeField()),
                ('owner', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'verbose_name': 'cart sync event',
            },
        ),
        migrations.CreateModel(
            name='Transition',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('old', models.CharField(max_length=20)),
                ('new', models.CharField(max_length=20)),
                ('because', models.CharField(max_length=200)),
                ('attempts', models.PositiveIntegerField()),
                ('at', models.DateTimeField()),
                ('job', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='transitions', to='shop.checkoutjob')),
            ],
            options={
                'ordering': ('id',),
            },
        ),
        migrations.AddIndex(
            model_name='user',
            index=django.contrib.postgres.indexes.BrinIndex(autosummarize=True, fields=['created_at'], name='user_created_at'),
        ),
        migrations.AddConstraint(
            model_name='user',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('email', None), ('is_guest', True)), models.Q(('email__isnull', False), ('is_guest', False)), _connector='OR'), name='user_is_a_guest_or_has_an_email'),
        ),
        migrations.AddIndex(
            model_name='auditentry',
            index=models.Index(condition=models.Q(('checkout_id__isnull', False)), fields=['checkout_id'], name='audit_entry_of_checkout'),
        ),
        migrations.AddConstraint(
            model_name='auditentry',
            constraint=models.CheckConstraint(condition=models.Q(('action__in', ['retry', 'poll', 'cancel', 'capture', 'refund', 'accept_money', 'refund_all', 'close_case', 'replay', 'resend'])), name='audit_entry_action_known'),
        ),
        migrations.AddConstraint(
            model_name='auditentry',
            constraint=models.CheckConstraint(condition=models.Q(('reason', ''), _negated=True), name='audit_entry_says_why'),
        ),
        migrations.AddIndex(
            model_name='cart',
            index=django.contrib.postgres.indexes.BrinIndex(fields=['updated_at'], name='cart_updated_at', pages_per_range=16),
        ),
        migrations.AddIndex(
            model_name='failedattempt',
            index=django.contrib.postgres.indexes.BrinIndex(autosummarize=True, fields=['at'], name='failed_attempt_at'),
        ),
        migrations.AddIndex(
            model_name='idempotencykey',
            index=django.contrib.postgres.indexes.BrinIndex(autosummarize=True, fields=['created_at'], name='key_created_at'),
        ),
        migrations.AddConstraint(
            model_name='idempotencykey',
            constraint=models.UniqueConstraint(fields=('owner', 'key'), name='idempotency_key_once_per_owner'),
        ),
        migrations.AddConstraint(
            model_name='order',
            constraint=models.CheckConstraint(condition=models.Q(('amount_paise__gt', 0)), name='order_amount_positive'),
        ),
        migrations.AddConstraint(
            model_name='order',
            constraint=models.CheckConstraint(condition=models.Q(('stock_state__in', ['held', 'sold', 'released'])), name='order_stock_state_known'),
        ),
        migrations.AddIndex(
            model_name='gatewayorder',
            index=models.Index(condition=models.Q(('poll_at__isnull', False)), fields=['poll_at'], name='gateway_order_to_poll'),
        ),
        migrations.AddConstraint(
            model_name='gatewayorder',
            constraint=models.UniqueConstraint(condition=models.Q(('is_duplicate', False)), fields=('order',), name='gateway_order_one_payable_per_order'),
        ),
        migrations.AddIndex(
            model_name='checkoutjob',
            index=models.Index(condition=models.Q(('due_at__isnull', False)), fields=['state', 'due_at'], name='checkout_due'),
        ),
        migrations.AddIndex(
            model_name='checkoutjob',
            index=models.Index(fields=['owner', '-created_at'], name='checkout_of_owner'),
        ),
        migrations.AddIndex(
            model_name='checkoutjob',
            index=models.Index(condition=models.Q(('state__in', [shop.checkout.states.State['CANCELLED'], shop.checkout.states.State['EXPIRED'], shop.checkout.states.State['FAILED'], shop.checkout.states.State['IN_REVIEW'], shop.checkout.states.State['PAID'], shop.checkout.states.State['REFUNDED'], shop.checkout.states.State['REFUNDING']])), fields=['state', '-created_at'], name='checkout_ended'),
        ),
        migrations.AddIndex(
            model_name='checkoutjob',
            index=models.Index(condition=models.Q(('address_key__isnull', False)), fields=['address_key'], name='checkout_of_address'),
        ),
        migrations.AddIndex(
            model_name='checkoutjob',
            index=django.contrib.postgres.indexes.BrinIndex(fields=['created_at'], name='checkout_created_at', pages_per_range=16),
        ),
        migrations.AddConstraint(
            model_name='checkoutjob',
            constraint=models.UniqueConstraint(condition=models.Q(('state__in', [shop.checkout.states.State['AWAITING_PAYMENT'], shop.checkout.states.State['ORDERED'], shop.checkout.states.State['QUEUED'], shop.checkout.states.State['VALIDATED']])), fields=('cart',), name='checkout_one_open_per_cart'),
        ),
        migrations.AddConstraint(
            model_name='checkoutjob',
            constraint=models.CheckConstraint(condition=models.Q(('state__in', ['queued', 'validated', 'ordered', 'awaiting_payment', 'paid', 'failed', 'cancelled', 'expired', 'refunding', 'refunded', 'in_review'])), name='checkout_state_known'),
        ),
        migrations.AddConstraint(
            model_name='checkoutjob',
            constraint=models.CheckConstraint(condition=models.Q(('claim', None), ('due_at__isnull', False), _connector='OR'), name='checkout_claim_ends'),
        ),
        migrations.AddConstraint(
            model_name='checkoutjob',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('state', shop.checkout.states.State['FAILED']), _negated=True), models.Q(('error_code', ''), _negated=True), _connector='OR'), name='checkout_failed_says_why'),
        ),
        migrations.AddIndex(
            model_name='case',
            index=models.Index(condition=models.Q(('closed_at', None)), fields=['opened_at'], name='case_open'),
        ),
        migrations.AddConstraint(
            model_name='case',
            constraint=models.UniqueConstraint(fields=('kind', 'reference'), name='case_once_per_reference'),
        ),
        migrations.AddConstraint(
            model_name='case',
            constraint=models.CheckConstraint(condition=models.Q(('kind__in', ['conflict', 'refund_failed', 'refund_twice', 'settle_failed', 'dispute', 'poll_failed', 'unreadable'])), name='case_kind_known'),
        ),
        migrations.AddConstraint(
            model_name='case',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('closed_at', None), ('closed_by', None)), models.Q(('closed_at__isnull', False), models.Q(('closed_by__isnull', False), models.Q(('closed_because', ''), _negated=True), _connector='OR')), _connector='OR'), name='case_closed_by_somebody'),
        ),
        migrations.AddIndex(
            model_name='payment',
            index=models.Index(condition=models.Q(('capture_at__isnull', False)), fields=['capture_at'], name='payment_to_capture'),
        ),
        migrations.AddIndex(
            model_name='payment',
            index=models.Index(fields=['captured_at'], name='payment_captured_at'),
        ),
        migrations.AddIndex(
            model_name='payment',
            index=django.contrib.postgres.indexes.BrinIndex(autosummarize=True, fields=['created_at'], name='payment_created_at'),
        ),
        migrations.AddConstraint(
            model_name='payment',
            constraint=models.CheckConstraint(condition=models.Q(('status__in', ['created', 'failed', 'authorized', 'captured', 'refunded'])), name='payment_status_known'),
        ),
        migrations.AddIndex(
            model_name='refund',
            index=models.Index(condition=models.Q(('due_at__isnull', False)), fields=['due_at'], name='refund_due'),
        ),
        migrations.AddIndex(
            model_name='refund',
            index=models.Index(condition=models.Q(('status', shop.payments.refunds.RefundStatus['PROCESSED']), _negated=True), fields=['status', 'created_at'], name='refund_unfinished'),
        ),
        migrations.AddConstraint(
            model_name='refund',
            constraint=models.CheckConstraint(condition=models.Q(('amount_paise__gt', 0)), name='refund_amount_positive'),
        ),
        migrations.AddConstraint(
            model_name='refund',
            constraint=models.CheckConstraint(condition=models.Q(('status__in', [shop.payments.refunds.RefundStatus['DUE'], shop.payments.refunds.RefundStatus['PENDING'], shop.payments.refunds.RefundStatus['PROCESSED'], shop.payments.refunds.RefundStatus['FAILED']])), name='refund_status_known'),
        ),
        migrations.AddConstraint(
            model_name='refund',
            constraint=models.UniqueConstraint(condition=models.Q(('reason__in', (shop.payments.refunds.RefundReason['LATE'], shop.payments.refunds.RefundReason['SURPLUS']))), fields=('payment',), name='refund_one_automatic_per_payment'),
        ),
        migrations.AddConstraint(
            model_name='stocklevel',
            constraint=models.CheckConstraint(condition=models.Q(('on_hand__gte', models.F('held'))), name='stock_held_at_most_on_hand'),
        ),
        migrations.AddConstraint(
            model_name='variant',
            constraint=models.CheckConstraint(condition=models.Q(('price_paise__gte', 0)), name='variant_price_not_negative'),
        ),
        migrations.AddConstraint(
            model_name='orderline',
            constraint=models.UniqueConstraint(fields=('order', 'variant'), name='order_line_one_per_variant'),
        ),
        migrations.AddConstraint(
            model_name='orderline',
            constraint=models.CheckConstraint(condition=models.Q(('units__gte', 1)), name='order_line_units_at_least_one'),
        ),
        migrations.AddConstraint(
            model_name='cartitem',
            constraint=models.UniqueConstraint(fields=('cart', 'variant'), name='cart_item_one_per_variant'),
        ),
        migrations.AddConstraint(
            model_name='cartitem',
            constraint=models.CheckConstraint(condition=models.Q(('quantity__range', (1, 100))), name='cart_item_quantity_within_limit'),
        ),
        migrations.AddIndex(
            model_name='syncevent',
            index=django.contrib.postgres.indexes.BrinIndex(autosummarize=True, fields=['at'], name='sync_event_at'),
        ),
        migrations.AddIndex(
            model_name='transition',
            index=django.contrib.postgres.indexes.BrinIndex(autosummarize=True, fields=['at'], name='transition_at'),
        ),
        *_triggers.OPERATIONS,
    ]
