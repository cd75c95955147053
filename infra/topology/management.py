"""RabbitMQ's management API, as much of it as the topology needs: through it queues tell what they obey, and policies are set."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final
from urllib.parse import quote

import httpx
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_delay, wait_fixed

from infra.errors import Misconfigured
from infra.settings import Settings

_TIMEOUT_S: Final = 10.0
_PATIENCE_S: Final = 60.0
_LOOK_EVERY_S: Final = 0.2
_ABSENT: Final = object()


class Management:
    """The API of one virtual host; raises Misconfigured for whatever it refuses and when it is silent."""

    def __init__(self, client: httpx.AsyncClient, vhost: str) -> None:
        self._client = client
        self._vhost = quote(vhost, safe="")

    async def get(self, kind: str, columns: str = "") -> Any:
        """Everything of this kind, such as `queues`, in the virtual host; only these columns of it if some are named."""
        return await self._ask("GET", f"/api/{kind}/{self._vhost}" + (f"?columns={columns}" if columns else ""))

    async def has(self, kind: str, name: str) -> bool:
        """Whether there is such a thing."""
        return await self._ask("GET", f"/api/{kind}/{self._vhost}/{quote(name, safe='')}", absent=_ABSENT) is not _ABSENT

    async def put(self, kind: str, name: str, body: dict[str, Any]) -> None:
        await self._ask("PUT", f"/api/{kind}/{self._vhost}/{quote(name, safe='')}", body)

    async def delete(self, kind: str, name: str) -> None:
        await self._ask("DELETE", f"/api/{kind}/{self._vhost}/{quote(name, safe='')}")

    async def bind(self, exchange: str, routing_key: str, queue: str) -> None:
        path = f"/api/bindings/{self._vhost}/e/{quote(exchange, safe='')}/q/{quote(queue, safe='')}"
        await self._ask("POST", path, {"routing_key": routing_key, "arguments": {}})

    async def until_it_answers(self) -> None:
        """Wait for a broker that is starting."""
        starting = retry_if_exception_type(httpx.TransportError)
        try:
            async for attempt in AsyncRetrying(
                retry=starting, wait=wait_fixed(_LOOK_EVERY_S), stop=stop_after_delay(_PATIENCE_S), reraise=True
            ):
                with attempt:
                    await self._client.get("/api/whoami")
        except httpx.TransportError as error:
            raise _silent(error) from error

    async def _ask(self, method: str, path: str, body: dict[str, Any] | None = None, absent: object = None) -> Any:
        """What it answers; `absent`, if one is given, for what is not there."""
        try:
            answer = await self._client.request(method, path, json=body)
            if absent is not None and answer.status_code == httpx.codes.NOT_FOUND:
                return absent
            answer.raise_for_status()
        except httpx.HTTPStatusError as error:
            raise Misconfigured(f"RabbitMQ's management API answered {error.response.status_code} to {method} {path}") from error
        except httpx.TransportError as error:
            raise _silent(error) from error
        return answer.json() if answer.content else None


@asynccontextmanager
async def management(settings: Settings) -> AsyncIterator[Management]:
    """The management API of the virtual host that OAAS_RABBITMQ_URL names."""
    if not settings.rabbitmq_management_url:
        raise Misconfigured("OAAS_RABBITMQ_MANAGEMENT_URL is not set: queue policies are set through RabbitMQ's management API")
    vhost = httpx.URL(settings.rabbitmq_url).path.removeprefix("/") if settings.rabbitmq_url else ""
    async with httpx.AsyncClient(base_url=settings.rabbitmq_management_url.rstrip("/"), timeout=_TIMEOUT_S) as client:
        yield Management(client, vhost or "/")


def _silent(error: httpx.TransportError) -> Misconfigured:
    return Misconfigured(f"RabbitMQ's management API at OAAS_RABBITMQ_MANAGEMENT_URL does not answer: {error or type(error).__name__}")
