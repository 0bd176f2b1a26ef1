-- The two roles of the shop and their privileges. A superuser runs this in the shop's database. A repeat
-- changes nothing. In a database of an older version, which had one role, the tables get their owner.
--
--   pakka_owner   owns the database and its tables; only `migrate` connects as it
--   pakka_app     reads and writes rows; every process of the shop connects as it. It cannot create
--                 tables, read files, start programs, or disable the triggers of the audit log
--
-- Passwords, if the server requires them: PGOPTIONS="-c pakka.owner_password=… -c pakka.app_password=…"
DO $$
DECLARE
    role_name text;
    secret text;
    found record;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('pakka.roles'));

    FOREACH role_name IN ARRAY ARRAY['pakka_owner', 'pakka_app'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role_name) THEN
            EXECUTE format('CREATE ROLE %I LOGIN', role_name);
        END IF;
        secret := current_setting(replace(role_name, 'pakka_', 'pakka.') || '_password', true);
        IF secret <> '' THEN
            EXECUTE format('ALTER ROLE %I PASSWORD %L', role_name, secret);
        END IF;
    END LOOP;

    IF (SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = current_database())
       <> 'pakka_owner' THEN
        EXECUTE format('ALTER DATABASE %I OWNER TO pakka_owner', current_database());
    END IF;
    IF has_database_privilege('pakka_app', current_database(), 'TEMPORARY') THEN
        EXECUTE format('REVOKE TEMPORARY ON DATABASE %I FROM PUBLIC', current_database());
    END IF;
    IF has_schema_privilege('pakka_app', 'public', 'CREATE') THEN
        REVOKE CREATE ON SCHEMA public FROM PUBLIC;
    END IF;

    -- Tables, views and sequences, but not the sequences of columns, which belong to their table.
    FOR found IN
        SELECT oid::regclass AS name FROM pg_class
        WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'm', 'S')
          AND pg_get_userbyid(relowner) <> 'pakka_owner'
          AND NOT EXISTS (SELECT FROM pg_depend WHERE classid = 'pg_class'::regclass
                          AND objid = pg_class.oid AND deptype IN ('a', 'i', 'e'))
    LOOP
        EXECUTE format('ALTER TABLE %s OWNER TO pakka_owner', found.name);
    END LOOP;
    FOR found IN
        SELECT oid::regprocedure AS name FROM pg_proc
        WHERE pronamespace = 'public'::regnamespace AND pg_get_userbyid(proowner) <> 'pakka_owner'
          AND NOT EXISTS (SELECT FROM pg_depend WHERE classid = 'pg_proc'::regclass
                          AND objid = pg_proc.oid AND deptype = 'e')
    LOOP
        EXECUTE format('ALTER ROUTINE %s OWNER TO pakka_owner', found.name);
    END LOOP;

    -- The existing tables and sequences, and those that migrations will add.
    FOR found IN
        SELECT oid::regclass AS name FROM pg_class
        WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v')
          AND NOT (SELECT bool_and(has_table_privilege('pakka_app', oid, privilege))
                   FROM unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS privilege)
    LOOP
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %s TO pakka_app', found.name);
    END LOOP;
    FOR found IN
        SELECT oid::regclass AS name FROM pg_class
        WHERE relnamespace = 'public'::regnamespace
          AND CASE relkind WHEN 'S' THEN NOT has_sequence_privilege('pakka_app', oid, 'USAGE') END
    LOOP
        EXECUTE format('GRANT USAGE, SELECT ON SEQUENCE %s TO pakka_app', found.name);
    END LOOP;
    IF NOT EXISTS (SELECT FROM pg_default_acl WHERE pg_get_userbyid(defaclrole) = 'pakka_owner') THEN
        ALTER DEFAULT PRIVILEGES FOR ROLE pakka_owner IN SCHEMA public
            GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO pakka_app;
        ALTER DEFAULT PRIVILEGES FOR ROLE pakka_owner IN SCHEMA public
            GRANT USAGE, SELECT ON SEQUENCES TO pakka_app;
    END IF;
END
$$;
