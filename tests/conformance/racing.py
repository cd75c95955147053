"""Two workers of one participant that meet on a lock: the second one waits for the first by the server's own account."""

import asyncio

from contracts.messages import Message, Reply
from contracts.values import TenantId
from tests.conformance.places import Participant, answers, decide, envelope

WAIT_S = 10.0

_SOMEBODY_WAITS_FOR_US = "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY(pg_blocking_pids(pid)))"


async def race(participant: Participant, tenant_id: TenantId, first: Message, second: Message) -> list[Reply | None]:
    """What both are answered if the second is said between the first one's load and its decision, and waits for its locks."""
    said: list[asyncio.Task[list[Reply | None]]] = []
    async with participant.enter(tenant_id) as scope:

        async def until_the_second_waits() -> None:
            said.append(asyncio.create_task(answers(participant, tenant_id, [second])))
            async with asyncio.timeout(WAIT_S):
                while not await scope.connection.fetchval(_SOMEBODY_WAITS_FOR_US):  # noqa: ASYNC110 - the server has no event for it
                    await asyncio.sleep(0.01)

        replies = await decide(scope, participant.handles, [envelope(tenant_id, first)], until_the_second_waits)
    return [*replies, *await said[0]]
