"""Queues and policies as the broker has them: what is declared in code, and what only a policy gives."""

import asyncio

import pytest

from contracts.addresses import (
    DELIVERIES_MAX,
    RETRY_LANES,
    dead_letter_queue,
    policies,
    queues,
    retry_address,
    retry_wait_ms,
    work_queues,
)
from infra import topology
from infra.broker import close, open_broker
from infra.errors import Misconfigured
from infra.settings import Settings
from infra.worker import Worker
from services.inventory.main import SERVICE
from tests.integration.messaging import COMMANDS, Stage, until

QUEUE = COMMANDS.routing_key


@pytest.mark.parametrize("queue", queues())
async def test_every_queue_is_a_quorum_queue_under_its_policy(stage: Stage, queue: str) -> None:
    wanted = policies()[queue]["definition"]

    async def effective() -> bool:
        found = await stage.management("GET", f"/api/queues/{stage.vhost}/{queue}")
        assert found["type"] == "quorum"
        assert found["arguments"] == {"x-queue-type": "quorum"}
        return bool(found.get("policy") == queue and found.get("effective_policy_definition") == wanted)

    await until(effective, lambda: f"{queue} does not obey its policy")


@pytest.mark.parametrize("lane", range(len(RETRY_LANES)))
async def test_what_is_put_on_the_ladder_comes_back_to_its_queue_by_itself(stage: Stage, lane: int) -> None:
    began = asyncio.get_running_loop().time()
    address = retry_address(QUEUE, 0, lane)
    await stage.publish(address, '{"tried": "once"}')
    [message] = await stage.read(QUEUE, 1)
    # The broker counts whole milliseconds from the moment at which it had the message.
    assert asyncio.get_running_loop().time() - began > retry_wait_ms(0, lane) / 1000 - 0.01
    assert message.body == b'[{"tried": "once"}]'
    assert await stage.waiting(address.exchange) == 0


@pytest.mark.parametrize("queue", work_queues())
async def test_every_dead_letter_queue_is_durable_and_bound(stage: Stage, queue: str) -> None:
    dead = dead_letter_queue(queue)
    found = await stage.management("GET", f"/api/queues/{stage.vhost}/{dead}")
    bindings = await stage.management("GET", f"/api/queues/{stage.vhost}/{dead}/bindings")
    assert found["type"] == "quorum"
    assert ("dead-letters", queue) in {(binding["source"], binding["routing_key"]) for binding in bindings}


async def test_policies_as_they_should_be_are_accepted(stage: Stage) -> None:
    await topology.refuse_a_mismatch(stage.settings)


async def test_a_missing_policy_is_refused_by_name(stage: Stage) -> None:
    await stage.management("DELETE", f"/api/policies/{stage.vhost}/{QUEUE}")
    with pytest.raises(Misconfigured, match=f"policy {QUEUE} is missing"):
        await topology.refuse_a_mismatch(stage.settings)


async def test_a_policy_that_differs_is_refused_by_name(stage: Stage) -> None:
    lossy = policies()[QUEUE] | {"definition": policies()[QUEUE]["definition"] | {"overflow": "drop-head"}}
    await stage.management("PUT", f"/api/policies/{stage.vhost}/{QUEUE}", lossy)
    with pytest.raises(Misconfigured, match=f"policy {QUEUE} differs"):
        await topology.refuse_a_mismatch(stage.settings)


async def test_a_policy_that_outranks_ours_is_refused(stage: Stage) -> None:
    outranking = {"pattern": ".*", "apply-to": "queues", "priority": 99, "definition": {"max-length": 10}}
    await stage.management("PUT", f"/api/policies/{stage.vhost}/everything", outranking)
    with pytest.raises(Misconfigured, match=f"policy everything outranks {QUEUE}"):
        await topology.refuse_a_mismatch(stage.settings)


async def test_a_worker_refuses_to_start_without_its_policies(stage: Stage) -> None:
    await stage.management("DELETE", f"/api/policies/{stage.vhost}/{QUEUE}")
    with pytest.raises(Misconfigured, match="oaas migrate"):
        await Worker([SERVICE], stage.settings).run()


@pytest.mark.parametrize("url", ["", "http://127.0.0.1:1"], ids=["not set", "nobody there"])
async def test_policies_cannot_be_applied_without_the_management_api(stage: Stage, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # A broker that is starting is waited for; nobody needs to see that here.
    monkeypatch.setattr(topology, "_PATIENCE_S", 0.5)
    settings: Settings = stage.settings.model_copy(update={"rabbitmq_management_url": url})
    with pytest.raises(Misconfigured, match="OAAS_RABBITMQ_MANAGEMENT_URL"):
        await topology.apply_policies(settings)


async def test_declaring_everything_again_changes_nothing(stage: Stage) -> None:
    before = await arguments(stage)
    broker = open_broker(stage.settings)
    await broker.connect()
    try:
        await topology.declare(broker)
    finally:
        await close(broker)
    assert await arguments(stage) == before


async def arguments(stage: Stage) -> dict[str, object]:
    return {queue["name"]: queue["arguments"] for queue in await stage.management("GET", f"/api/queues/{stage.vhost}")}


async def test_a_frame_that_nobody_can_finish_ends_in_the_dead_letter_queue(stage: Stage) -> None:
    await stage.publish(COMMANDS, '{"kills": "whoever takes it"}')
    source = await stage.client.get_queue(QUEUE, ensure=False)
    deliveries = 0

    async def dead() -> bool:
        nonlocal deliveries
        while (message := await source.get(fail=False)) is not None:
            deliveries += 1
            assert deliveries <= DELIVERIES_MAX + 1, "it comes for ever"
            await message.reject(requeue=True)
        return await stage.waiting(dead_letter_queue(QUEUE)) == 1

    await until(dead, lambda: f"not dead-lettered after {deliveries} deliveries")
    assert deliveries == DELIVERIES_MAX + 1
