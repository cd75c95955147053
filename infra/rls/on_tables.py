"""Rules about tables, what is built on them, and their policies."""

from collections.abc import Iterator
from typing import Final

from infra.rls.catalog import EVERYBODY, Catalog, Policy, Relation
from infra.rls.findings import Place, Rule
from infra.rls.scope_functions import altered

_OPEN: Final = "true"


def _without_tenant(catalog: Catalog) -> Iterator[Place]:
    for table in catalog.relations:
        if table.is_table and not table.has_tenant:
            yield Place(f"table {table.name}", {"table": table.name})


def _not_enabled(catalog: Catalog) -> Iterator[Place]:
    yield from (_table(table) for table in catalog.tables if not table.is_enabled and not table.is_partition)


def _not_forced(catalog: Catalog) -> Iterator[Place]:
    yield from (_table(table) for table in catalog.tables if not table.is_forced and table.is_enabled and not table.is_partition)


def _partition_not_enabled(catalog: Catalog) -> Iterator[Place]:
    yield from (_table(table) for table in catalog.tables if not (table.is_enabled and table.is_forced) and table.is_partition)


def _table(table: Relation) -> Place:
    return Place(f"table {table.name}", {"table": table.name})


def _second_policy(catalog: Catalog) -> Iterator[Place]:
    by_table: dict[str, list[Policy]] = {}
    for policy in catalog.policies:
        if policy.is_permissive:
            by_table.setdefault(policy.table, []).append(policy)
    for table, policies in by_table.items():
        for role in sorted({role for policy in policies for role in policy.roles}):
            theirs = [policy for policy in policies if role in policy.roles or EVERYBODY in policy.roles]
            if len(theirs) > 1:
                # The one to be kept raises, if any of them does, and is for this role alone.
                theirs.sort(key=lambda policy: (policy.using != _raising(policy.schema), EVERYBODY in policy.roles, policy.name))
                drops = "; ".join(f"DROP POLICY {policy.name} ON {table}" for policy in theirs[1:])
                named = ", ".join(sorted(policy.name for policy in theirs))
                yield Place(f"policies {named} on {table} for {role}", {"drops": drops})


def _open_policy(catalog: Catalog) -> Iterator[Place]:
    for policy in catalog.policies:
        if policy.is_permissive and _OPEN in (policy.using, policy.check):
            yield _policy(policy, "")


def _policy_that_does_not_raise(catalog: Catalog) -> Iterator[Place]:
    for policy in catalog.policies:
        parts = {part for part in (policy.using, policy.check) if part is not None}
        wrong = sorted(parts - {_raising(policy.schema), _OPEN})
        if policy.is_permissive and wrong:
            yield _policy(policy, " and ".join(wrong))


def _policy(policy: Policy, found: str) -> Place:
    where = f"policy {policy.name} on {policy.table} for {policy.command} to {', '.join(policy.roles)}"
    names = {"policy": policy.name, "table": policy.table, "schema": policy.schema, "roles": ", ".join(policy.roles)}
    parts = (("USING", policy.using), ("WITH CHECK", policy.check))
    predicate = f"(tenant_id = (SELECT {policy.schema}.require_tenant()))"
    return Place(where, {**names, "predicates": " ".join(f"{word} {predicate}" for word, part in parts if part is not None)}, found)


def _raising(schema: str) -> str:
    """The one predicate of infra/schema.py, as PostgreSQL prints it."""
    return f"(tenant_id = ( SELECT {schema}.require_tenant() AS require_tenant))"


def _require_tenant_altered(catalog: Catalog) -> Iterator[Place]:
    by_name = {function.name: function for function in catalog.functions}
    for service in catalog.services:
        for name, found, mend in altered(service, by_name):
            yield Place(f"function {name}", {"create": mend}, found)


def _view_of_its_owner(catalog: Catalog) -> Iterator[Place]:
    for view in catalog.relations:
        if view.kind == "v" and not view.is_invoker:
            yield Place(f"view {view.name}", {"view": view.name}, f"it reads as {view.owner}")


def _copy(catalog: Catalog) -> Iterator[Place]:
    kinds = {"m": "MATERIALIZED VIEW", "f": "FOREIGN TABLE"}
    for copy in catalog.relations:
        if copy.kind in kinds:
            yield Place(f"{kinds[copy.kind].lower()} {copy.name}", {"kind": kinds[copy.kind], "copy": copy.name})


def _definer(catalog: Catalog) -> Iterator[Place]:
    for function in catalog.functions:
        if function.is_definer:
            yield Place(f"function {function.name}", {"function": function.name})


RULES: Final = (
    Rule(
        "no-tenant-column",
        "a table without a column tenant_id uuid NOT NULL",
        "No policy can tell whose row it is; a row with no tenant is everybody's or nobody's.",
        "ALTER TABLE {table} ADD COLUMN IF NOT EXISTS tenant_id uuid, ALTER COLUMN tenant_id SET NOT NULL;",
        _without_tenant,
    ),
    Rule(
        "rls-off",
        "row-level security is off",
        "Whoever has a grant on the table reads and changes all tenants' rows; its policies are there and do nothing.",
        "ALTER TABLE {table} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;",
        _not_enabled,
    ),
    Rule(
        "rls-not-forced",
        "row-level security is not forced on the table's owner",
        "A migration's back-fill, or a function that runs as the owner, works on all tenants' rows without saying so.",
        "ALTER TABLE {table} FORCE ROW LEVEL SECURITY;",
        _not_forced,
    ),
    Rule(
        "partition-rls-off",
        "a partition without forced row-level security of its own",
        "The table's policies hold for what comes through the table; whoever names the partition itself goes around them.",
        "ALTER TABLE {table} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;",
        _partition_not_enabled,
    ),
    Rule(
        "second-policy",
        "more than one permissive policy for one role on one table",
        "Permissive policies are joined by OR: the widest one wins, whatever the others say.",
        "{drops}; -- one that is to narrow another is created AS RESTRICTIVE",
        _second_policy,
    ),
    Rule(
        "policy-true",
        "a policy that lets all rows through: USING (true) or WITH CHECK (true)",
        "Its role sees every tenant's rows, or writes rows for every tenant, in whichever scope it is.",
        "ALTER POLICY {policy} ON {table} {predicates};",
        _open_policy,
    ),
    Rule(
        "policy-does-not-raise",
        "a policy whose predicate is not tenant_id = (SELECT <schema>.require_tenant())",
        "With current_setting(..., true) or nullif(...) a forgotten scope is silently no rows, and a consumer acks what it has not done;"
        " any other predicate may let other tenants' rows through.",
        "ALTER POLICY {policy} ON {table} {predicates};",
        _policy_that_does_not_raise,
    ),
    Rule(
        "require-tenant-altered",
        "the function that names the tenant or raises is not one that our migrations create",
        "Every policy of the schema rests on it: if it returns something where no scope is set, a forgotten scope is no error any more.",
        "{create};",
        _require_tenant_altered,
    ),
    Rule(
        "view-not-invoker",
        "a view without security_invoker",
        "It reads with its owner's rights, so the policies of whoever asks do not hold; if its owner is a superuser, none do.",
        "ALTER VIEW {view} SET (security_invoker = true);",
        _view_of_its_owner,
    ),
    Rule(
        "copy-without-policies",
        "a materialised view or foreign table",
        "There are no policies on these: what is in it is there for everybody with a grant.",
        "DROP {kind} {copy};",
        _copy,
    ),
    Rule(
        "definer-function",
        "a SECURITY DEFINER function",
        "It works with its owner's rights and on its owner's rows, for whoever calls it.",
        "ALTER ROUTINE {function} SECURITY INVOKER;",
        _definer,
    ),
)
