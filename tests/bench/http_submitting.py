"""Orders submitted as clients do, over HTTP with a token and an Idempotency-Key; as lean as Python can be, on the same cores."""

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final
from urllib.parse import urlsplit
from uuid import UUID, uuid4

from infra.token import token
from tests.bench.books import Town
from tests.bench.http_connection import Connection
from tests.bench.stack import Stack
from tests.bench.workload import Work

CONNECTIONS: Final = 64
_BUSY: Final = (429, 503)
_PAUSE_S: Final = 0.2


class NotTaken(Exception):
    """The API answered an order with something that is neither 202 nor a request to come again."""


class HttpSubmitter:
    """Submits over connections that stay open; a 429 or 503 is asked again, as its sender is told to."""

    def __init__(self, town: Town, connections: Sequence[Connection], tokens: Sequence[str], host: str) -> None:
        self._town = town
        self._free = deque(connections)
        self._room = asyncio.Semaphore(len(connections))
        self._heads = [f"POST /v1/orders HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {one}\r\n" for one in tokens]

    async def submit(self, works: Sequence[Work]) -> list[UUID]:
        """The ids of these orders, each accepted."""
        return list(await asyncio.gather(*map(self._place, works)))

    async def _place(self, work: Work) -> UUID:
        request = self._request(work)
        while True:
            async with self._room:
                status, body = await self._ask(request)
            if status not in _BUSY:
                break
            await asyncio.sleep(_PAUSE_S)
        if status != 202:
            raise NotTaken(f"{status}: {body.decode(errors='replace')[:500]}")
        return UUID(json.loads(body)["id"])

    async def _ask(self, request: bytes) -> tuple[int, bytes]:
        connection, answer = self._free.popleft(), asyncio.get_running_loop().create_future()
        connection.send(request, lambda status, body: answer.set_result((status, body)))
        try:
            found: tuple[int, bytes] = await answer
        finally:
            self._free.append(connection)
        return found

    def _request(self, work: Work) -> bytes:
        line = {"sku": self._town.sku_over_http(work), "quantity": work.quantity}
        body = json.dumps({"shop_id": str(self._town.shop(work.tenant)), "lines": [line]})
        head = f"Idempotency-Key: {uuid4()}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        return (self._heads[work.tenant] + head + body).encode()


def _not_expected(_connection: Connection, was_asked: bool) -> None:
    if was_asked:
        raise NotTaken("the API closed a connection before it had answered")


@asynccontextmanager
async def http_submitter(stack: Stack, town: Town) -> AsyncIterator[HttpSubmitter]:
    """Clients of all tenants, connected."""
    address = urlsplit(stack.running.api_url)
    host, port = address.hostname or "", address.port or 0
    made = [await asyncio.get_running_loop().create_connection(lambda: Connection(_not_expected), host, port) for _ in range(CONNECTIONS)]
    tokens = [
        str(token(stack.settings, tenant=str(town.tenant(number)), scope="orders:write", ttl="1h")["token"])
        for number in range(town.workload.tenants)
    ]
    connections = [connection for _, connection in made]
    try:
        yield HttpSubmitter(town, connections, tokens, address.netloc)
    finally:
        for connection in connections:
            connection.close()
