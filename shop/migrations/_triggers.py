"""
Rows that the database itself keeps.

Triggers act on rows only: a test that empties all tables uses TRUNCATE.
"""

from django.db import migrations

# Locks the stock row, so that an order which takes units at this moment is either seen here or waits.
KEEP_STOCK_OF_ORDERS = """
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
DROP_STOCK_TRIGGER = """
    DROP TRIGGER shop_stock_of_orders_is_kept ON shop_stocklevel;
    DROP FUNCTION shop_stock_of_orders_is_kept();
"""

KEEP_AUDIT_LOG = """
    CREATE FUNCTION shop_audit_is_kept() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        RAISE EXCEPTION 'entries of the audit log cannot be changed' USING ERRCODE = '23001';
    END $$;
    CREATE TRIGGER shop_audit_is_kept BEFORE UPDATE OR DELETE ON shop_auditentry
        FOR EACH ROW EXECUTE FUNCTION shop_audit_is_kept();
"""
DROP_AUDIT_TRIGGER = """
    DROP TRIGGER shop_audit_is_kept ON shop_auditentry;
    DROP FUNCTION shop_audit_is_kept();
"""

OPERATIONS = (
    migrations.RunSQL(KEEP_STOCK_OF_ORDERS, DROP_STOCK_TRIGGER),
    migrations.RunSQL(KEEP_AUDIT_LOG, DROP_AUDIT_TRIGGER),
)
