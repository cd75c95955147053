"""Asking whoever reads queues whether messages were handled, and waiting for what they say, within a bound.

What they say comes to a worker of the desk, which keeps it beside the question (services/ops/replay/outcomes.py); the asker looks there.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final
from uuid import UUID

from contracts.values import TenantId
from infra.transaction import Transactions
from services.ops.desk import questions
from services.ops.desk.questions import Answer, Asked

_LOOK_EVERY_S: Final = 0.05


async def ask(transaction: Transactions, asked: Sequence[Asked], within_s: float) -> dict[UUID, Answer]:
    """The answers by letter that came within the bound; all are asked at once. A letter without an answer is not in it."""
    if not asked:
        return {}
    by_tenant: dict[TenantId, list[Asked]] = {}
    for one in asked:
        by_tenant.setdefault(one.tenant_id, []).append(one)
    about: dict[UUID, UUID] = {}
    async with transaction.batch() as batch:
        for tenant_id, own in sorted(by_tenant.items()):
            async with batch.scope(tenant_id) as scope:
                ids = await questions.put(scope, own, settles=False)
            about |= dict(zip(ids, (one.letter_id for one in own), strict=True))
    until = asyncio.get_running_loop().time() + within_s
    answers: dict[UUID, Answer] = {}
    while len(answers) < len(about) and asyncio.get_running_loop().time() < until:
        await asyncio.sleep(_LOOK_EVERY_S)
        answers = await _look(transaction, sorted(by_tenant), about)
    async with transaction.batch() as batch:
        for tenant_id in sorted(by_tenant):
            async with batch.scope(tenant_id) as scope:
                await questions.clear(scope, list(about))
    return answers


async def _look(transaction: Transactions, tenants: Sequence[TenantId], about: Mapping[UUID, UUID]) -> dict[UUID, Answer]:
    found: dict[UUID, Answer] = {}
    async with transaction.batch() as batch:
        for tenant_id in tenants:
            async with batch.scope(tenant_id) as scope:
                found |= {about[id]: answer for id, answer in (await questions.answered(scope, list(about))).items()}
    return found
