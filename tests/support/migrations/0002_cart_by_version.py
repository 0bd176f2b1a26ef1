"""An index that is built, and dropped, without stopping the shop."""

from django.db import migrations

DROP = "DROP INDEX CONCURRENTLY IF EXISTS shop_cart_by_version"
# Drop first: a build that was cancelled leaves an INVALID index of this name.
BUILD = [DROP, "CREATE INDEX CONCURRENTLY shop_cart_by_version ON shop_cart (version)"]


class Migration(migrations.Migration):
    atomic = False  # CONCURRENTLY is not allowed in a transaction
    dependencies = [("shop", "0001_tables")]
    operations = [migrations.RunSQL(BUILD, DROP)]
