"""A broker on which the number of shards changes, and is put back to one afterwards."""

import asyncio
from dataclasses import dataclass
from uuid import UUID, uuid5

from contracts.addresses import Address, is_work_queue, queues, shard_in, shard_of
from contracts.values import TenantId
from infra.settings import Settings
from infra.topology import topology
from tests.integration.messaging import Stage

_NAMESPACE = UUID("6f7e6d3c-4f9d-4c0a-9c52-0f2f5e8b7a11")


@dataclass(frozen=True)
class Sharded:
    """A stage and its settings with other numbers of shards."""

    stage: Stage

    def settings(self, shards: int, **others: object) -> Settings:
        return self.stage.settings.model_copy(update={"shards": shards, **others})

    async def apply(self, shards: int) -> list[str]:
        """What `oaas topology apply` does with this OAAS_SHARDS; what it did, in words."""
        done, left = await topology.apply(self.settings(shards))
        assert left == []
        return done

    async def names(self) -> set[str]:
        """Every queue on the broker."""
        return {queue["name"] for queue in await self.stage.management("GET", f"/api/queues/{self.stage.vhost}")}

    async def back_to(self, shards: int) -> None:
        """Remove all others, with what is in them."""
        paths = [f"/api/queues/{self.stage.vhost}/{name}" for name in await self.names() - set(queues(shards))]
        await asyncio.gather(*(self.stage.management("DELETE", path) for path in paths))

    async def empty(self, shards: int) -> None:
        """No message in any queue of so many shards."""
        for name in queues(shards):
            if await self.stage.waiting(name):
                await (await self.stage.client.get_queue(name, ensure=False)).purge()


def a_tenant_of(shard: int, shards: int, number: int = 0) -> TenantId:
    """The first tenant, or a later one, whose messages go through this shard of so many."""
    found = (TenantId(uuid5(_NAMESPACE, str(one))) for one in range(100_000))
    fitting = (tenant for tenant in found if shard_of(tenant, shards) == shard)
    return [next(fitting) for _ in range(number + 1)][-1]


def asks(shard: int) -> Address:
    """Where inventory is asked by the saga of a tenant of this shard."""
    return Address("sagas.commands", f"inventory.commands.{shard}")


def shards_of(names: set[str]) -> set[int]:
    """The shards that work queues of these names are of."""
    return {shard_in(name) for name in names if is_work_queue(name)}
