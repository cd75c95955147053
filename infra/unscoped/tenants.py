"""Which tenants a service knows: ids, and nothing else. It runs as the sweeper's role, which may read that column.

It has its importers listed in the import contracts: only reconciling, which compares what
the services keep one tenant at a time.
"""

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from contracts.values import TenantId


class KnownTenants:
    """The tenants that have a row in a table whose key begins with the tenant."""

    def __init__(self, table: str, pool: AsyncEngine) -> None:
        """`table` has its schema in front."""
        self._pool = pool
        # From tenant to tenant through the key: as many steps as there are tenants, however many rows they have.
        self._all = text(
            f"""WITH RECURSIVE found AS (
                (SELECT tenant_id FROM {table} ORDER BY tenant_id LIMIT 1)
                UNION ALL
                SELECT (SELECT tenant_id FROM {table} WHERE tenant_id > found.tenant_id ORDER BY tenant_id LIMIT 1)
                FROM found WHERE found.tenant_id IS NOT NULL)
            SELECT tenant_id FROM found WHERE tenant_id IS NOT NULL"""
        )

    async def all(self) -> set[TenantId]:
        """Every one of them."""
        async with self._pool.connect() as connection:
            return {TenantId(row.tenant_id) for row in await connection.execute(self._all)}
