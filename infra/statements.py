"""One tenant's way to the database, inside a transaction that others may share."""

from typing import Any

from psycopg.pq.abc import PGresult

from contracts.values import TenantId
from infra.wire import Answer, Wire, status_of
from infra.wire_values import Row


class Statements:
    """One tenant's way to the wire; its methods are named and answer as asyncpg's connection does."""

    def __init__(self, wire: Wire, tenant_id: TenantId) -> None:
        self._wire = wire
        self._tenant_id = tenant_id

    def ask(self, statement: str, *arguments: Any) -> Answer:
        """Without waiting: what is asked next travels with it. `rows` reads the answer."""
        return self._wire.ask(self._tenant_id, statement, arguments)

    def rows(self, result: PGresult) -> list[Row]:
        return self._wire.rows(result)

    async def fetch(self, statement: str, *arguments: Any) -> list[Row]:
        return self._wire.rows(await self.ask(statement, *arguments))

    async def fetchrow(self, statement: str, *arguments: Any) -> Row | None:
        """The first row, if there is any."""
        return next(iter(await self.fetch(statement, *arguments)), None)

    async def fetchval(self, statement: str, *arguments: Any) -> Any:
        """The first row's first value; None if there is no row."""
        row = await self.fetchrow(statement, *arguments)
        return None if row is None else row[0]

    async def execute(self, statement: str, *arguments: Any) -> str:
        """The command's tag, such as `UPDATE 3`."""
        return status_of(await self.ask(statement, *arguments))
