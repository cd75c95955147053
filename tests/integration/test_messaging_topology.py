"""Queues and policies as the broker has them: what is declared in code, and what only a policy gives."""

import asyncio
import json

import pytest
from aio_pika.exceptions import DeliveryError

from contracts import policies as module
from contracts.addresses import RETRY_LANES, dead_letter_queue, queues, retry_address, retry_wait_ms, work_queues
from contracts.policies import DELIVERIES_MAX, policies, policy_of, policy_pattern
from infra.broker import close, open_broker
from infra.errors import Misconfigured
from infra.settings import Settings
from infra.topology import topology
from infra.topology.live import late, look
from infra.topology.management import management
from infra.worker import Worker
from services.inventory.main import SERVICE
from tests.integration.messaging import COMMANDS, Stage, until

QUEUE = COMMANDS.routing_key
POLICY = policy_of(QUEUE)


@pytest.mark.parametrize("queue", queues())
async def test_every_queue_is_a_quorum_queue_under_its_policy(stage: Stage, queue: str) -> None:
    wanted = policies()[policy_of(queue)]["definition"]

    async def effective() -> bool:
        found = await stage.management("GET", f"/api/queues/{stage.vhost}/{queue}")
        assert found["type"] == "quorum"
        assert found["arguments"] == {"x-queue-type": "quorum"}
        return bool(found.get("policy") == policy_of(queue) and found.get("effective_policy_definition") == wanted)

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


async def test_a_topology_as_it_should_be_is_accepted(stage: Stage) -> None:
    await topology.refuse_a_mismatch(stage.settings)


async def test_a_missing_policy_is_refused_by_name(stage: Stage) -> None:
    await stage.management("DELETE", f"/api/policies/{stage.vhost}/{POLICY}")
    with pytest.raises(Misconfigured, match=f"policy {POLICY}: is missing.*oaas topology apply"):
        await topology.refuse_a_mismatch(stage.settings)


async def test_a_policy_that_differs_is_refused_by_name_and_says_in_what(stage: Stage) -> None:
    lossy = policies()[POLICY] | {"definition": policies()[POLICY]["definition"] | {"overflow": "drop-head"}}
    await stage.management("PUT", f"/api/policies/{stage.vhost}/{POLICY}", lossy)
    with pytest.raises(Misconfigured, match=f"policy {POLICY}: overflow is drop-head, wanted reject-publish"):
        await topology.refuse_a_mismatch(stage.settings)


async def test_a_policy_that_outranks_ours_is_refused_and_never_removed(stage: Stage) -> None:
    outranking = {"pattern": ".*", "apply-to": "queues", "priority": 99, "definition": {"max-length": 10}}
    await stage.management("PUT", f"/api/policies/{stage.vhost}/everything", outranking)
    with pytest.raises(Misconfigured, match=f"policy {QUEUE}: is outranked by everything.*clear_policy 'everything'"):
        await topology.refuse_a_mismatch(stage.settings)
    _, left = await topology.apply(stage.settings)
    assert {one.name for one in left} == set(queues())


async def test_an_operator_policy_that_changes_what_a_queue_obeys_is_refused(stage: Stage) -> None:
    path = f"/api/operator-policies/{stage.vhost}/tight"
    tight = {"pattern": f"^{QUEUE}$", "apply-to": "queues", "priority": 0, "definition": {"max-length": 10}}
    await stage.management("PUT", path, tight)
    try:
        with pytest.raises(Misconfigured, match=f"queue {QUEUE}: max-length is 10 by operator policy tight, wanted 1000000"):
            await topology.refuse_a_mismatch(stage.settings)
        await stage.management("PUT", path, tight | {"definition": {"max-length": 2_000_000}})
        # Of two numbers the smaller is obeyed.
        assert await topology.mismatches(stage.settings) == []
    finally:
        await stage.management("DELETE", path)


async def test_what_a_queue_really_obeys_is_looked_at_not_only_what_is_set(stage: Stage) -> None:
    looser = policies()[POLICY] | {"definition": policies()[POLICY]["definition"] | {"delivery-limit": 3}}
    await stage.management("PUT", f"/api/policies/{stage.vhost}/{POLICY}", looser)

    async def obeyed(limit: int) -> bool:
        found = await stage.management("GET", f"/api/queues/{stage.vhost}/{QUEUE}")
        return bool(found.get("effective_policy_definition", {}).get("delivery-limit") == limit)

    await until(lambda: obeyed(3), lambda: "the queue does not say that it obeys the wrong policy")
    await topology.apply(stage.settings)
    async with management(stage.settings) as broker:
        assert [one.name for one in late(await look(broker), stage.settings.shards)] == [QUEUE]
    # It says so in a moment; whoever starts now waits for it.
    assert await topology.mismatches(stage.settings) == []


async def test_a_queue_that_was_declared_with_arguments_is_refused_and_left_to_people(stage: Stage) -> None:
    await stage.management("DELETE", f"/api/queues/{stage.vhost}/{QUEUE}")
    arguments = {"x-queue-type": "quorum", "x-max-length": 5}
    await stage.management("PUT", f"/api/queues/{stage.vhost}/{QUEUE}", {"durable": True, "arguments": arguments})
    try:
        [queue] = [one for one in await topology.mismatches(stage.settings) if one.what == "queue"]
        assert (queue.name, queue.found) == (QUEUE, "was declared with x-max-length 5")
        _, left = await topology.apply(stage.settings)
        assert [one.mend for one in left] == [f"rabbitmqctl delete_queue {QUEUE} once it is empty, then oaas topology apply"]
    finally:
        await stage.management("DELETE", f"/api/queues/{stage.vhost}/{QUEUE}")
        await topology.apply(stage.settings)
    assert await topology.mismatches(stage.settings) == []


async def test_missing_queues_exchanges_and_bindings_are_named_and_mended(stage: Stage) -> None:
    await stage.management("DELETE", f"/api/queues/{stage.vhost}/retry.500.0")
    await stage.management("DELETE", f"/api/exchanges/{stage.vhost}/replays")
    wrong = {(one.what, one.name) for one in await topology.mismatches(stage.settings)}
    assert {("queue", "retry.500.0"), ("exchange", "replays"), ("binding", "retry.500.0 --> retry.500.0")} <= wrong
    assert ("binding", f"replays -{QUEUE}-> {QUEUE}") in wrong
    would, _ = await topology.apply(stage.settings, dry_run=True)
    assert {(one.what, one.name) for one in await topology.mismatches(stage.settings)} == wrong
    done, left = await topology.apply(stage.settings)
    assert (done, left, len(done)) == (would, [], len(wrong))
    assert await topology.mismatches(stage.settings) == []
    assert await topology.apply(stage.settings) == ([], [])


async def test_policies_of_ours_that_no_release_has_any_more_are_removed_and_strangers_are_not(stage: Stage) -> None:
    ours = policies()[POLICY] | {"pattern": policy_pattern("billing.commands")}
    strangers = {"pattern": r"^billing\.", "apply-to": "queues", "priority": 1, "definition": {"max-length": 10}}
    await stage.management("PUT", f"/api/policies/{stage.vhost}/billing.commands", ours)
    await stage.management("PUT", f"/api/policies/{stage.vhost}/billing.replies", strangers)
    done, _ = await topology.apply(stage.settings)
    assert done == ["policy billing.commands: no release of ours has it any more, removed"]
    live = {policy["name"] for policy in await stage.management("GET", f"/api/policies/{stage.vhost}")}
    assert live == {*policies(), "billing.replies"}


async def test_the_policies_of_an_earlier_release_one_per_queue_give_way_to_this_ones(stage: Stage) -> None:
    # Both fit, at the same priority: the broker may pick either, until the earlier one is gone.
    earlier = policies()[POLICY] | {"pattern": "^" + QUEUE.replace(".", r"\.") + "$"}
    await stage.management("PUT", f"/api/policies/{stage.vhost}/{QUEUE}", earlier)
    assert await topology.apply(stage.settings) == ([f"policy {QUEUE}: no release of ours has it any more, removed"], [])
    assert await topology.mismatches(stage.settings) == []


async def test_changing_a_limit_needs_no_new_queue_and_loses_no_message(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(20):
        await stage.publish(COMMANDS, json.dumps({"number": number}))
    monkeypatch.setattr(module, "QUEUE_LENGTH_MAX", 30)
    wrong = await topology.mismatches(stage.settings)
    assert {one.found for one in wrong} == {"max-length is 1000000"}
    done, left = await topology.apply(stage.settings)
    assert (len(done), left) == (len(policies()), [])

    async def is_full() -> bool:
        try:
            await stage.publish(COMMANDS, "{}")
        except DeliveryError:
            return True
        return False

    await until(is_full, lambda: "the queue takes more than its new limit")
    kept = [json.loads(message.body)[0].get("number") for message in await stage.read(QUEUE, 30)]
    assert kept[:20] == list(range(20))
    monkeypatch.undo()
    await topology.apply(stage.settings)


async def test_a_worker_refuses_to_start_without_its_policies(stage: Stage) -> None:
    await stage.management("DELETE", f"/api/policies/{stage.vhost}/{POLICY}")
    with pytest.raises(Misconfigured, match="oaas topology apply"):
        await Worker([SERVICE], stage.settings).run()


@pytest.mark.parametrize("url", ["", "http://127.0.0.1:1"], ids=["not set", "nobody there"])
async def test_a_topology_cannot_be_applied_without_the_management_api(stage: Stage, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # A broker that is starting is waited for; nobody needs to see that here.
    monkeypatch.setattr("infra.topology.management._PATIENCE_S", 0.5)
    settings: Settings = stage.settings.model_copy(update={"rabbitmq_management_url": url})
    with pytest.raises(Misconfigured, match="OAAS_RABBITMQ_MANAGEMENT_URL"):
        await topology.apply(settings)


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
