"""The questions to PostgreSQL's catalog that infra/rls/catalog.py asks.

Each is one short statement that every role may send; it reads no table of anybody's. Names are qualified by hand, since what a cast to
regclass prints depends on the search path, and quoted where SQL needs it. What belongs to an extension is not ours and is left out.
"""

from typing import Final

_SCHEMAS: Final = "(SELECT oid FROM pg_namespace WHERE nspname = ANY($1::text[]))"
_OF_EXTENSION: Final = "EXISTS (SELECT FROM pg_depend WHERE classid = '{catalog}'::regclass AND objid = {oid} AND deptype = 'e')"
_OF_EXTENSION_RELATION: Final = _OF_EXTENSION.format(catalog="pg_class", oid="found.oid")
_OF_EXTENSION_FUNCTION: Final = _OF_EXTENSION.format(catalog="pg_proc", oid="found.oid")

# A view may read another view: whatever is built on our tables, in however many steps, and in whichever schema.
RELATIONS: Final = f"""
    WITH RECURSIVE built (on_them) AS (
        SELECT oid FROM pg_class WHERE relnamespace IN (SELECT oid FROM pg_namespace WHERE nspname = ANY($2::text[]))
        UNION
        SELECT ev_class FROM built
        JOIN pg_depend ON refclassid = 'pg_class'::regclass AND refobjid = on_them AND classid = 'pg_rewrite'::regclass
        JOIN pg_rewrite ON pg_rewrite.oid = objid)
    SELECT nspname::text, quote_ident(nspname) || '.' || quote_ident(relname), relkind::text, relispartition,
           EXISTS (SELECT FROM pg_attribute WHERE attrelid = found.oid AND attname = 'tenant_id' AND atttypid = 'uuid'::regtype
                   AND attnotnull AND NOT attisdropped),
           relrowsecurity, relforcerowsecurity, quote_ident(pg_get_userbyid(relowner)),
           coalesce((SELECT option_value::boolean FROM pg_options_to_table(reloptions) WHERE option_name = 'security_invoker'), false)
    FROM pg_class AS found JOIN pg_namespace ON pg_namespace.oid = relnamespace
    WHERE relkind IN ('r', 'p', 'v', 'm', 'f') AND (nspname = ANY($1::text[]) OR found.oid IN (SELECT on_them FROM built))
      AND NOT {_OF_EXTENSION_RELATION}
    ORDER BY 2"""  # noqa: S608 - put together from the constants above

POLICIES: Final = f"""
    SELECT nspname::text, quote_ident(nspname) || '.' || quote_ident(relname), quote_ident(polname), polpermissive,
           ARRAY(SELECT CASE one WHEN 0 THEN 'public' ELSE quote_ident(pg_get_userbyid(one)) END FROM unnest(polroles) AS one ORDER BY 1),
           CASE polcmd WHEN 'r' THEN 'SELECT' WHEN 'a' THEN 'INSERT' WHEN 'w' THEN 'UPDATE' WHEN 'd' THEN 'DELETE' ELSE 'ALL' END,
           pg_get_expr(polqual, polrelid), pg_get_expr(polwithcheck, polrelid)
    FROM pg_policy JOIN pg_class ON pg_class.oid = polrelid JOIN pg_namespace ON pg_namespace.oid = relnamespace
    WHERE relnamespace IN {_SCHEMAS} ORDER BY 2, 3"""  # noqa: S608 - put together from the constants above

# The functions that an index is searched with: those of its operators (of a tree's, those that compare a type with itself), and those
# inside its expressions. The catalog does not note dependencies on built-in functions, so these are read out of the expression itself.
INDEXES: Final = f"""
    SELECT quote_ident(of_table.nspname) || '.' || quote_ident(tables.relname), of_table.nspname::text, quote_ident(indexes.relname),
           indisunique OR indisexclusion,
           (SELECT quote_ident(conname) FROM pg_constraint
            WHERE conindid = indexrelid AND conrelid = indrelid AND contype IN ('p', 'u', 'x')),
           ARRAY(SELECT pg_get_indexdef(indexrelid, number, true) FROM generate_series(1, indnkeyatts) AS number ORDER BY number),
           pg_get_expr(indpred, indrelid),
           ARRAY(SELECT DISTINCT proname || '(' || pg_get_function_identity_arguments(pg_proc.oid) || ')'
                 FROM pg_proc WHERE NOT proleakproof AND pg_proc.oid IN (
                     SELECT oprcode::oid FROM generate_series(0, indnkeyatts - 1) AS place
                     JOIN pg_opclass ON pg_opclass.oid = indclass[place]
                     JOIN pg_am ON pg_am.oid = opcmethod
                     JOIN pg_amop ON amopfamily = opcfamily AND amoplefttype = opcintype
                          AND (amoprighttype = opcintype OR amname IN ('gin', 'gist', 'spgist'))
                     JOIN pg_operator ON pg_operator.oid = amopopr
                     UNION ALL
                     SELECT within[1]::oid
                     FROM regexp_matches(indexprs::text, ':(?:funcid|opfuncid) ([0-9]+)', 'g') AS within)
                 ORDER BY 1)
    FROM pg_index JOIN pg_class AS indexes ON indexes.oid = indexrelid JOIN pg_class AS tables ON tables.oid = indrelid
    JOIN pg_namespace AS of_table ON of_table.oid = tables.relnamespace
    WHERE tables.relnamespace IN {_SCHEMAS} AND tables.relkind IN ('r', 'p') ORDER BY 1, 3"""  # noqa: S608 - as above

FOREIGN_KEYS: Final = f"""
    SELECT quote_ident(mine.nspname) || '.' || quote_ident(referring.relname), quote_ident(conname),
           ARRAY(SELECT quote_ident(attname) FROM unnest(conkey) WITH ORDINALITY AS key (number, place)
                 JOIN pg_attribute ON attrelid = conrelid AND attnum = number ORDER BY place),
           quote_ident(theirs.nspname) || '.' || quote_ident(referred.relname),
           ARRAY(SELECT quote_ident(attname) FROM unnest(confkey) WITH ORDINALITY AS key (number, place)
                 JOIN pg_attribute ON attrelid = confrelid AND attnum = number ORDER BY place)
    FROM pg_constraint
    JOIN pg_class AS referring ON referring.oid = conrelid JOIN pg_namespace AS mine ON mine.oid = referring.relnamespace
    JOIN pg_class AS referred ON referred.oid = confrelid JOIN pg_namespace AS theirs ON theirs.oid = referred.relnamespace
    WHERE contype = 'f' AND referring.relnamespace IN {_SCHEMAS} ORDER BY 1, 2"""  # noqa: S608 - put together from the constants above

FUNCTIONS: Final = f"""
    SELECT nspname::text,
           quote_ident(nspname) || '.' || quote_ident(proname) || '(' || pg_get_function_identity_arguments(found.oid) || ')',
           prosecdef, prosrc, coalesce(proconfig, '{{}}')
    FROM pg_proc AS found JOIN pg_namespace ON pg_namespace.oid = pronamespace
    WHERE pronamespace IN {_SCHEMAS} AND NOT {_OF_EXTENSION_FUNCTION} ORDER BY 2"""  # noqa: S608 - put together from the constants above

ROLES: Final = """
    SELECT quote_ident(rolname), rolsuper, rolbypassrls,
           array_remove(ARRAY[CASE WHEN rolcreaterole THEN 'CREATEROLE' END, CASE WHEN rolcreatedb THEN 'CREATEDB' END,
                              CASE WHEN rolreplication THEN 'REPLICATION' END], NULL),
           ARRAY(SELECT quote_ident(pg_get_userbyid(roleid)) FROM pg_auth_members WHERE member = pg_roles.oid ORDER BY 1)
    FROM pg_roles WHERE rolname = ANY($1::text[]) ORDER BY 1"""

# On our tables to anybody, and to our roles (or everybody) on anything that is not PostgreSQL's own or an extension's.
GRANTS: Final = f"""
    WITH granted AS (
        SELECT found.oid, found.relnamespace, relname, relowner, aclexplode(relacl) AS one, NULL::name AS column_name FROM pg_class AS found
        WHERE relkind IN ('r', 'p', 'v', 'm', 'f') AND NOT {_OF_EXTENSION_RELATION}
        UNION ALL
        SELECT found.oid, found.relnamespace, relname, relowner, aclexplode(attacl), attname FROM pg_class AS found
        JOIN pg_attribute ON attrelid = found.oid AND attnum > 0 AND NOT attisdropped
        WHERE relkind IN ('r', 'p', 'v', 'm', 'f') AND NOT {_OF_EXTENSION_RELATION})
    SELECT nspname::text, quote_ident(nspname) || '.' || quote_ident(relname), grantee, (one).privilege_type, quote_ident(column_name)
    FROM granted JOIN pg_namespace ON pg_namespace.oid = relnamespace
    CROSS JOIN LATERAL (
        SELECT CASE (one).grantee WHEN 0 THEN 'public' ELSE quote_ident(pg_get_userbyid((one).grantee)) END AS grantee) AS named
    WHERE (one).grantee <> relowner AND nspname <> 'pg_catalog' AND nspname <> 'information_schema'
      AND (relnamespace IN {_SCHEMAS} OR grantee = ANY($2::text[]))
    ORDER BY 2, 3, 4, 5"""  # noqa: S608 - put together from the constants above

# The last one is this very session's: nobody has set a scope in it, so whatever it has it began with.
SCOPES_BY_DEFAULT: Final = """
    SELECT 'role ' || coalesce(quote_ident(pg_get_userbyid(nullif(setrole, 0))), 'ALL')
           || coalesce(' IN DATABASE ' || (SELECT quote_ident(datname) FROM pg_database WHERE oid = setdatabase), '')
    FROM pg_db_role_setting, unnest(setconfig) AS setting
    WHERE setting LIKE $2 AND (setrole = 0 OR pg_get_userbyid(setrole) = ANY($1::text[]))
      AND setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
    UNION ALL
    SELECT 'server' WHERE current_setting($3, true) <> '' AND NOT EXISTS (SELECT FROM pg_db_role_setting, unnest(setconfig) AS setting
        WHERE setting LIKE $2)"""
