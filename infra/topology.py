"""Declares on the broker what contracts/addresses.py says, and compares its live policies with it.

In code only a queue's type is declared: any other argument could never be changed again without deleting the queue. Limits and
dead lettering are policies, which go through the management API. Without its policy a queue loses what it dead-letters, so
services refuse to start on a mismatch.
"""

import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

import httpx
from faststream.rabbit import ExchangeType, QueueType, RabbitBroker, RabbitExchange, RabbitQueue
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_delay, wait_fixed

from contracts import addresses
from infra.errors import Misconfigured
from infra.settings import Settings

_MANAGEMENT_TIMEOUT_S: Final = 10.0
_PATIENCE_S: Final = 60.0
_LOOK_EVERY_S: Final = 0.2


async def declare(broker: RabbitBroker) -> None:
    """Exchanges, queues and bindings. Safe to repeat; nothing is published to an exchange that does not exist yet."""
    exchanges = {
        name: await broker.declare_exchange(RabbitExchange(name, type=ExchangeType(kind), durable=True))
        for name, kind in addresses.exchanges().items()
    }
    queues = {name: await broker.declare_queue(work_queue(name)) for name in addresses.queues()}
    for binding in addresses.bindings():
        await queues[binding.queue].bind(exchanges[binding.exchange], routing_key=binding.routing_key)


def work_queue(name: str) -> RabbitQueue:
    """The queue as every process declares it."""
    return RabbitQueue(name, durable=True, queue_type=QueueType.QUORUM)


async def apply_policies(settings: Settings) -> None:
    """Put every policy of addresses.py, once a broker that is starting answers; raises Misconfigured if it refuses or stays silent."""
    await _until_it_answers(settings)
    async with _management(settings) as client:
        for name, body in addresses.policies().items():
            await _ask(client, "PUT", f"/api/policies/{_vhost(settings)}/{quote(name, safe='')}", body)


async def missing_policies(settings: Settings) -> list[str]:
    """What is wrong with the live policies, in words; empty if every work queue has exactly its own and obeys it."""
    async with _management(settings) as client:
        live = {policy["name"]: policy for policy in await _ask(client, "GET", f"/api/policies/{_vhost(settings)}")}
    problems = []
    for name, wanted in addresses.policies().items():
        found = live.get(name)
        if found is None:
            problems.append(f"policy {name} is missing")
        elif any(found.get(part) != wanted[part] for part in wanted):
            problems.append(f"policy {name} differs: it is {found.get('definition')}, it should be {wanted['definition']}")
        problems += [
            f"policy {other} outranks {name}" for other, policy in live.items() if other != name and _outranks(policy, name, wanted)
        ]
    return problems


def _outranks(policy: Mapping[str, Any], queue: str, ours: Mapping[str, Any]) -> bool:
    # A queue obeys one policy only: the highest, whoever set it. Among equals the broker picks any.
    return (
        policy["priority"] >= ours["priority"]
        and policy["apply-to"] in ("all", "queues", "quorum_queues")
        and re.search(policy["pattern"], queue) is not None
    )


async def refuse_a_mismatch(settings: Settings) -> None:
    """Raises Misconfigured naming each policy that is missing or differs. Without a management URL it can only trust."""
    if settings.rabbitmq_management_url and (problems := await missing_policies(settings)):
        raise Misconfigured("RabbitMQ's policies are not those of this release: " + "; ".join(problems) + ". Run `oaas migrate`.")


def _management(settings: Settings) -> httpx.AsyncClient:
    if not settings.rabbitmq_management_url:
        raise Misconfigured("OAAS_RABBITMQ_MANAGEMENT_URL is not set: queue policies are set through RabbitMQ's management API")
    return httpx.AsyncClient(base_url=settings.rabbitmq_management_url.rstrip("/"), timeout=_MANAGEMENT_TIMEOUT_S)


async def _ask(client: httpx.AsyncClient, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
    try:
        answer = await client.request(method, path, json=body)
        answer.raise_for_status()
    except httpx.HTTPStatusError as error:
        raise Misconfigured(f"RabbitMQ's management API answered {error.response.status_code} to {method} {path}") from error
    except httpx.TransportError as error:
        raise _silent(error) from error
    return answer.json() if answer.content else None


async def _until_it_answers(settings: Settings) -> None:
    starting = retry_if_exception_type(httpx.TransportError)
    async with _management(settings) as client:
        try:
            stop, pause = stop_after_delay(_PATIENCE_S), wait_fixed(_LOOK_EVERY_S)
            async for attempt in AsyncRetrying(retry=starting, wait=pause, stop=stop, reraise=True):
                with attempt:
                    await client.get("/api/overview")
        except httpx.TransportError as error:
            raise _silent(error) from error


def _silent(error: httpx.TransportError) -> Misconfigured:
    return Misconfigured(f"RabbitMQ's management API at OAAS_RABBITMQ_MANAGEMENT_URL does not answer: {error}")


def _vhost(settings: Settings) -> str:
    path = httpx.URL(settings.rabbitmq_url).path.removeprefix("/") if settings.rabbitmq_url else ""
    return quote(path or "/", safe="")
