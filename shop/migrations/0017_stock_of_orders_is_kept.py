"""Stock with units held or sold cannot be deleted, by whatever means. Locks nothing for long."""

from django.db import migrations

# Rows only, as in 0002: a test that empties all tables uses TRUNCATE. The row is locked when this
# runs, so that an order that is just taking units is either seen here or waits.
GUARD = """
    CREATE FUNCTION shop_stock_of_orders_is_kept() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF OLD.held > 0 OR EXISTS (
            SELECT FROM shop_orderline WHERE variant_id = OLD.variant_id
        ) THEN
            RAISE EXCEPTION 'units of variant % are held or sold', OLD.variant_id
                USING ERRCODE = '23001', CONSTRAINT = 'stock_of_orders_is_kept';
        END IF;
        RETURN OLD;
    END $$;
    CREATE TRIGGER shop_stock_of_orders_is_kept BEFORE DELETE ON shop_stocklevel
        FOR EACH ROW EXECUTE FUNCTION shop_stock_of_orders_is_kept();
"""
NO_GUARD = """
    DROP TRIGGER shop_stock_of_orders_is_kept ON shop_stocklevel;
    DROP FUNCTION shop_stock_of_orders_is_kept();
"""


class Migration(migrations.Migration):
    dependencies = [("shop", "0016_units_are_taken_over")]

    operations = [migrations.RunSQL(GUARD, NO_GUARD)]
