import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


def without(index, table, column):
    """
    `index` dropped beside a running shop, and made again on the way back: anew, because a try that
    was cancelled leaves one that is INVALID, and there.
    """
    drop = f"DROP INDEX CONCURRENTLY IF EXISTS {index}"
    return migrations.RunSQL(
        [drop], [drop, f"CREATE INDEX CONCURRENTLY IF NOT EXISTS {index} ON {table} ({column})"]
    )


class Migration(migrations.Migration):
    """
    Drop four indexes that others begin with. Each was written up to six times for a checkout.

    By hand: Django would drop and check anew the foreign keys of these columns, row by row.
    """

    atomic = False

    dependencies = [
        ('shop', '0010_pending_refunds_are_asked_about'),
    ]

    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[
                without('shop_cartitem_cart_id_6bf1447e', 'shop_cartitem', 'cart_id'),
                without('shop_checkoutjob_owner_id_6a1de752', 'shop_checkoutjob', 'owner_id'),
                without('shop_idempotencykey_owner_id_c67538a7', 'shop_idempotencykey', 'owner_id'),
                without('shop_orderline_order_id_8ad562c5', 'shop_orderline', 'order_id'),
            ],
            state_operations=[
                migrations.AlterField(
                    model_name='cartitem',
                    name='cart',
                    field=models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='items', to='shop.cart'),
                ),
                migrations.AlterField(
                    model_name='checkoutjob',
                    name='owner',
                    field=models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='checkouts', to=settings.AUTH_USER_MODEL),
                ),
                migrations.AlterField(
                    model_name='idempotencykey',
                    name='owner',
                    field=models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='+', to=settings.AUTH_USER_MODEL),
                ),
                migrations.AlterField(
                    model_name='orderline',
                    name='order',
                    field=models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='lines', to='shop.order'),
                ),
            ],
        ),
    ]
