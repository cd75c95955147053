"""May this process serve tenants? What its database roles are, and whether all its tables are under forced row-level security.

Two short statements on the catalog as the service's own role, cheap enough for a readiness check. `oaas check rls` looks much closer.
"""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

_FRESH_S: Final = 5.0
"""How long an answer is good for whoever asks again and again."""
# First the role in use, which may be another than the one that was meant: what its name promises does not count here.
_ROLES: Final = text("""
    SELECT rolname::text, rolsuper, rolbypassrls,
           EXISTS (SELECT FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
                   WHERE nspname = :schema AND relkind IN ('r', 'p', 'v', 'm', 'f') AND pg_has_role(pg_roles.oid, relowner, 'MEMBER'))
    FROM pg_roles WHERE rolname IN (current_user, :relay, :sweeper) ORDER BY rolname <> current_user, rolname""")
_TABLES: Final = text("""
    SELECT relname::text, relrowsecurity AND relforcerowsecurity FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
    WHERE nspname = :schema AND relkind IN ('r', 'p') ORDER BY 1""")


@dataclass(frozen=True, slots=True)
class WorkingRole:
    """A role that the process signs in as. `owns`: it owns tables of the schema, or may become their owner."""

    name: str
    is_superuser: bool
    bypasses: bool
    owns: bool


@dataclass(frozen=True, slots=True)
class Posture:
    """How one service stands."""

    service: str
    role: WorkingRole
    """The one that works inside a tenant."""
    others: Sequence[WorkingRole]
    """Those that work across tenants, on keys and times."""
    protected: Sequence[str]
    unprotected: Sequence[str]
    """Tables without row-level security, or whose owner it is not forced on."""

    @property
    def is_secure(self) -> bool:
        return not self.reasons

    @property
    def reasons(self) -> list["Reason"]:
        """Why it is not secure; none if it is."""
        return [*self._of_roles(), *self._of_tables()]

    def _of_roles(self) -> Iterator["Reason"]:
        for role in (self.role, *self.others):
            if role.is_superuser:
                yield Reason(f"role {role.name} is a superuser, for whom no policy holds", f"ALTER ROLE {role.name} NOSUPERUSER")
            elif role.owns:
                yield Reason(f"role {role.name} owns tables or may become their owner, who may switch policies off", "oaas check rls")
            if role.bypasses:
                yield Reason(f"role {role.name} has BYPASSRLS, so no policy holds for it", f"ALTER ROLE {role.name} NOBYPASSRLS")

    def _of_tables(self) -> Iterator["Reason"]:
        if not self.protected and not self.unprotected:
            yield Reason(f"schema {self.service} has no tables", "oaas migrate")
        for table in self.unprotected:
            mend = f"ALTER TABLE {self.service}.{table} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY"
            yield Reason(f"table {self.service}.{table} is not under forced row-level security", mend)


class Reason(NamedTuple):
    """What is wrong, and the SQL or the command that mends it."""

    what: str
    mend: str


class Postures:
    """How one service stands, now or of late."""

    def __init__(self, service: str, pool: AsyncEngine) -> None:
        """`pool` signs in as the role whose work is inside a tenant."""
        self.service = service
        self._pool = pool
        self._last: Posture | None = None
        self._looked_at = 0.0
        # Of those who ask at once, one looks and all others wait for what it sees.
        self._looking = asyncio.Lock()

    async def now(self) -> Posture:
        """As the database is at this moment."""
        try:
            return await self._look()
        except DBAPIError as error:
            # The connection died while it lay in the pool, as all others there, which are replaced by now.
            if not error.connection_invalidated:
                raise
            return await self._look()

    async def _look(self) -> Posture:
        names = {"schema": self.service, "relay": f"{self.service}_relay", "sweeper": f"{self.service}_sweeper"}
        async with self._pool.connect() as connection:
            role, *others = [WorkingRole(*row) for row in await connection.execute(_ROLES, names)]
            tables = (await connection.execute(_TABLES, {"schema": self.service})).all()
        protected = [name for name, is_protected in tables if is_protected]
        return Posture(self.service, role, others, protected, [name for name, is_protected in tables if not is_protected])

    async def of_late(self) -> Posture:
        """As it was at most a few seconds ago: for whoever asks again and again."""
        async with self._looking:
            if self._last is None or asyncio.get_running_loop().time() - self._looked_at >= _FRESH_S:
                self._last = await self.now()
                self._looked_at = asyncio.get_running_loop().time()
            return self._last
