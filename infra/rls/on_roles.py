"""Rules about roles, and about what is granted to them."""

from collections.abc import Iterator
from typing import Final

from infra.rls.catalog import EVERYBODY, Catalog, Grant
from infra.rls.findings import Place, Rule
from infra.schema import ROLES as ROLES_OF_A_SERVICE

_OUTSIDE_POLICIES: Final = ("TRUNCATE", "REFERENCES", "TRIGGER")
_ACROSS_TENANTS: Final = ("relay", "sweeper")
_WHOLE_ROWS: Final = ("SELECT", "INSERT", "UPDATE")


def _superuser(catalog: Catalog) -> Iterator[Place]:
    yield from (Place(f"role {role.name}", {"role": role.name}) for role in catalog.roles if role.is_superuser)


def _bypassing(catalog: Catalog) -> Iterator[Place]:
    yield from (Place(f"role {role.name}", {"role": role.name}) for role in catalog.roles if role.bypasses)


def _powerful(catalog: Catalog) -> Iterator[Place]:
    for role in catalog.roles:
        if role.powers:
            mend = " ".join(f"NO{power}" for power in role.powers)
            yield Place(f"role {role.name}", {"role": role.name, "powers": mend}, ", ".join(role.powers))


def _member(catalog: Catalog) -> Iterator[Place]:
    for role in catalog.roles:
        for other in role.member_of:
            yield Place(f"role {role.name} is a member of {other}", {"role": role.name, "other": other})


def _owning(catalog: Catalog) -> Iterator[Place]:
    kinds = {"r": "table", "p": "table", "v": "view", "m": "materialized view", "f": "foreign table"}
    working = {f"{service}_{role}" for service in catalog.services for role in ROLES_OF_A_SERVICE}
    for relation in catalog.relations:
        if relation.owner in working:
            kind = kinds[relation.kind]
            names = {"kind": kind.upper(), "relation": relation.name, "schema": relation.schema}
            yield Place(f"{kind} {relation.name} of {relation.owner}", names)


def _granted_outside_policies(catalog: Catalog) -> Iterator[Place]:
    for grant in catalog.grants:
        if grant.privilege in _OUTSIDE_POLICIES and grant.schema in catalog.services:
            yield _granted(_privilege(grant), grant.relation, grant.grantee)


def _granted_elsewhere(catalog: Catalog) -> Iterator[Place]:
    home = {f"{service}_{role}": service for service in catalog.services for role in ("owner", *ROLES_OF_A_SERVICE)}
    granted: dict[tuple[str, str], list[str]] = {}
    for grant in catalog.grants:
        is_everybodys = grant.grantee == EVERYBODY and grant.schema in (*catalog.services, EVERYBODY)
        is_anothers = grant.grantee in home and grant.schema != home[grant.grantee]
        if is_everybodys or is_anothers:
            granted.setdefault((grant.relation, grant.grantee), []).append(_privilege(grant))
    for (relation, grantee), privileges in granted.items():
        yield _granted(", ".join(privileges), relation, grantee)


def _privilege(grant: Grant) -> str:
    return f"{grant.privilege} ({grant.column})" if grant.column else grant.privilege


def _granted(privilege: str, relation: str, grantee: str) -> Place:
    names = {"privilege": privilege, "relation": relation, "grantee": grantee}
    return Place(f"{privilege} on {relation} to {grantee}", names)


def _whole_rows_of_all(catalog: Catalog) -> Iterator[Place]:
    across = {f"{service}_{role}" for service in catalog.services for role in _ACROSS_TENANTS}
    for grant in catalog.grants:
        if grant.grantee in across and grant.column is None and grant.privilege in _WHOLE_ROWS:
            yield _granted(grant.privilege, grant.relation, grant.grantee)


def _scope_by_default(catalog: Catalog) -> Iterator[Place]:
    for whose in catalog.scopes_by_default:
        command = "ALTER SYSTEM RESET oaas.tenant_id" if whose == "server" else f"ALTER {whose.upper()[:4]}{whose[4:]} RESET oaas.tenant_id"
        yield Place(whose, {"command": command})


RULES: Final = (
    Rule(
        "role-superuser",
        "a service's role is a superuser",
        "No policy holds for a superuser, forced or not.",
        "ALTER ROLE {role} NOSUPERUSER;",
        _superuser,
    ),
    Rule(
        "role-bypassrls",
        "a service's role has BYPASSRLS",
        "No policy holds for it: every statement sees and changes all tenants' rows.",
        "ALTER ROLE {role} NOBYPASSRLS;",
        _bypassing,
    ),
    Rule(
        "role-powers",
        "a service's role may do more than use tables",
        "CREATEROLE gives itself other roles, REPLICATION reads every row of the server, CREATEDB makes databases that nobody looks at.",
        "ALTER ROLE {role} {powers};",
        _powerful,
    ),
    Rule(
        "role-member",
        "a service's role is a member of another role",
        "It may become that role (SET ROLE) and do whatever that one may: if it owns the tables, switch their policies off.",
        "REVOKE {other} FROM {role};",
        _member,
    ),
    Rule(
        "role-owns",
        "a role that signs in owns a table",
        "An owner may switch row-level security off, drop policies and grant itself anything.",
        "ALTER {kind} {relation} OWNER TO {schema}_owner; -- what the role itself may do there goes along: GRANT it again",
        _owning,
    ),
    Rule(
        "grant-outside-policies",
        "TRUNCATE, REFERENCES or TRIGGER granted",
        "No policy holds for these: TRUNCATE empties the table of all tenants, a foreign key asks whether another tenant's row exists,"
        " and a trigger sees every row that is written.",
        "REVOKE {privilege} ON {relation} FROM {grantee};",
        _granted_outside_policies,
    ),
    Rule(
        "grant-elsewhere",
        "a privilege on another schema's table, or of everybody",
        "Services keep to their own schemas; what everybody may read, the next role that somebody creates may read as well.",
        "REVOKE {privilege} ON {relation} FROM {grantee};",
        _granted_elsewhere,
    ),
    Rule(
        "whole-rows-of-all",
        "a role that works across tenants may read or write whole rows",
        "Its policies let every row through, so its grants must name columns: keys and times, never what somebody said.",
        "REVOKE {privilege} ON {relation} FROM {grantee}; -- and GRANT {privilege} (columns) instead",
        _whole_rows_of_all,
    ),
    Rule(
        "scope-by-default",
        "sessions begin inside a tenant",
        "A forgotten scope is no error then: every statement without one silently works in that tenant.",
        "{command};",
        _scope_by_default,
    ),
)
