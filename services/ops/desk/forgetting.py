"""Forgets letters that were settled or archived long ago, with their deaths and revisions. What else the desk forgets is in main.py.

A letter that nobody has seen to is never forgotten, however old it is.
"""

import asyncio
import logging
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from contracts.values import TenantId
from infra.clock import now
from infra.consumer import attempted
from infra.service import Running
from infra.unscoped.letters import LetterSearch
from services.ops.desk import letters

_log: Final = logging.getLogger(__name__)
_TOGETHER_MAX: Final = 500


async def forget(running: Running) -> None:
    """Look every `retention_every_s` seconds, for ever."""
    forgetting = Forgetting(running)
    while True:
        if (error := await attempted(forgetting.all())) is not None:
            _log.warning("old letters are not forgotten now, the next look tries again", extra={"error": repr(error)})
        await asyncio.sleep(running.settings.retention_every_s)


class Forgetting:
    """One look; several processes may look at once."""

    def __init__(self, running: Running) -> None:
        self._transaction = running.transaction
        self._settings = running.settings
        self._search = LetterSearch(running.sweeper_pool)

    async def all(self) -> None:
        """Everything that is old enough, in small transactions with a pause between them."""
        before = now() - timedelta(days=self._settings.dead_letter_keep_days)
        while found := await self._search.closed_before(before, _TOGETHER_MAX):
            await self._delete(found, before)
            await asyncio.sleep(self._settings.retention_pause_s)

    async def _delete(self, found: list[tuple[TenantId, UUID]], before: datetime) -> None:
        by_tenant: dict[TenantId, list[UUID]] = {}
        for tenant_id, id in found:
            by_tenant.setdefault(tenant_id, []).append(id)
        async with self._transaction.batch() as batch:
            for tenant_id, ids in sorted(by_tenant.items()):
                async with batch.scope(tenant_id) as scope:
                    # One that has died anew or was restored since it was found stays.
                    await letters.forget(scope, ids, before)
