"""Clients who do not give up: they place orders over HTTP, with an Idempotency-Key, and ask again when nobody answers or a 5xx comes."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final
from uuid import UUID

import httpx

from contracts.values import OrderStatus
from infra.dev.demo_client import PAGE, Unexpected
from tests.chaos.watch import Watch
from tests.chaos.wishes import Fate, Wish

REQUEST_MAX_S: Final = 15.0
INSIST_S: Final = 240.0
"""Longest that a client asks for the same thing."""
FOLLOW_S: Final = 600.0
"""Longest that a client follows its order while faults go on."""
_PAUSE_S: Final = (0.1, 0.6)
_WAIT: Final = {"Prefer": "wait=5"}
_BEYOND: Final[Mapping[str, frozenset[str]]] = {
    "prepare": frozenset({"PREPARING", "READY", "COMPLETED"}),
    "ready": frozenset({"READY", "COMPLETED"}),
    "complete": frozenset({"COMPLETED"}),
}


@dataclass
class Journey:
    """What a client saw of one order. Times are of the monotonic clock."""

    wish: Wish
    ids: set[UUID] = field(default_factory=set)
    """Of every answer to its key: one, or it was doubled."""
    spans: list[list[float | None]] = field(default_factory=list)
    """From when the platform had accepted something to when it had done it; None: it has not."""
    outcome: str | None = None
    trouble: str | None = None

    @property
    def is_accepted(self) -> bool:
        return bool(self.ids)

    def was_open(self, began: float, ended: float) -> bool:
        """Whether the platform owed it something at some time between the two."""
        return any(since <= ended and (done is None or done >= began) for since, done in self.spans if since is not None)


class Shopper:
    """The HTTP client of one tenant."""

    def __init__(self, http: httpx.AsyncClient, bearer: str, statuses: Counter[str]) -> None:
        self._http = http
        self._authorization = {"Authorization": f"Bearer {bearer}"}
        self._statuses = statuses
        self.shop = ""

    async def ask(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        expected: Sequence[int] = (200, 201, 202),
    ) -> tuple[int, dict[str, Any]]:
        """The status and the answer; asks again on a broken connection and on 5xx. Raises Unexpected for any other answer, or none."""
        until = time.monotonic() + INSIST_S
        while True:
            try:
                answer = await self._http.request(method, path, json=body, headers={**self._authorization, **(headers or {})})
            except httpx.TransportError as error:
                last = type(error).__name__
            else:
                last = str(answer.status_code)
                if answer.status_code in expected:
                    self._statuses[last] += 1
                    return answer.status_code, answer.json()
                if answer.status_code < HTTPStatus.INTERNAL_SERVER_ERROR and answer.status_code != HTTPStatus.TOO_MANY_REQUESTS:
                    raise Unexpected(f"{method} {path} {body or ''} was answered {last}: {answer.text[:500]}")
            self._statuses[last] += 1
            if time.monotonic() > until:
                raise Unexpected(f"{method} {path} was asked for {INSIST_S:.0f} s, the last answer was {last}")
            await asyncio.sleep(random.uniform(*_PAUSE_S))

    async def orders(self) -> dict[UUID, str]:
        """Every order of the tenant, and how it stands."""
        found: dict[UUID, str] = {}
        cursor = ""
        while cursor is not None:
            _, page = await self.ask("GET", f"/v1/orders?limit={PAGE}" + (f"&cursor={cursor}" if cursor else ""))
            found |= {UUID(item["id"]): outcome_of(item) for item in page["items"]}
            cursor = page["next"]
        return found


class Crowd:
    """All clients together. `journeys` is everything that was wished for so far."""

    def __init__(self, shoppers: Mapping[str, Shopper], watch: Watch, wanted: Iterator[Wish], key: str) -> None:
        self._shoppers = shoppers
        self._watch = watch
        self._wanted = wanted
        self._key = key
        self._follow_s = FOLLOW_S
        self._following: set[asyncio.Timeout] = set()
        self.journeys: list[Journey] = []

    def hurry(self, follow_s: float) -> None:
        """Nothing goes wrong any more: from now on every order is followed for so long only."""
        self._follow_s = follow_s
        for one in self._following:
            one.reschedule(asyncio.get_running_loop().time() + follow_s)

    @property
    def accepted(self) -> int:
        return sum(journey.is_accepted for journey in self.journeys)

    @property
    def ended(self) -> int:
        return sum(journey.outcome is not None for journey in self.journeys)

    async def run(self, at_once: int, think_s: Callable[[], float], goes_on: Callable[[int], bool]) -> None:
        """`at_once` clients, each with one order after the other, who think in between, for as long as it goes on."""
        async with asyncio.TaskGroup() as group:
            for _ in range(at_once):
                group.create_task(self._shop(think_s, goes_on))

    async def _shop(self, think_s: Callable[[], float], goes_on: Callable[[int], bool]) -> None:
        while True:
            await asyncio.sleep(random.uniform(0, 2) * think_s())
            if not goes_on(len(self.journeys)):
                return
            journey = Journey(next(self._wanted))
            self.journeys.append(journey)
            try:
                async with asyncio.timeout(self._follow_s) as following:
                    self._following.add(following)
                    try:
                        await self._travel(journey)
                    finally:
                        self._following.discard(following)
            except (Unexpected, TimeoutError) as error:
                journey.trouble = repr(error)

    async def _travel(self, journey: Journey) -> None:
        wish, shopper = journey.wish, self._shoppers[journey.wish.tenant]
        sent = [self._place(shopper, journey) for _ in range(1 + wish.is_sent_twice)]
        await asyncio.gather(*sent)
        order_id = min(journey.ids)
        if wish.fate is not Fate.CANCELLED_AT_ONCE:
            outcome = await self._followed(shopper, journey, order_id)
            if outcome == OrderStatus.CONFIRMED and wish.fate is Fate.COMPLETED:
                for verb in _BEYOND:
                    await self._move(shopper, order_id, verb)
        if wish.fate in (Fate.CANCELLED, Fate.CANCELLED_AT_ONCE):
            await shopper.ask("POST", f"/v1/orders/{order_id}/cancel", {"reason": "chaos"})
            await self._followed(shopper, journey, order_id)
        journey.outcome = await self._look(shopper, order_id)

    async def _place(self, shopper: Shopper, journey: Journey) -> None:
        wish = journey.wish
        body: dict[str, Any] = {"shop_id": shopper.shop, "lines": [{"sku": sku, "quantity": n} for sku, n in wish.lines.items()]}
        if wish.card:
            body["payment"] = {"token": wish.card}
        headers = {"Idempotency-Key": f"{self._key}-{wish.number}", **(_WAIT if wish.waits else {})}
        _, found = await shopper.ask("POST", "/v1/orders", body, headers)
        journey.ids.add(UUID(found["id"]))

    async def _followed(self, shopper: Shopper, journey: Journey, order_id: UUID) -> str:
        span: list[float | None] = [time.monotonic(), None]
        journey.spans.append(span)
        span[1] = await self._watch.final(order_id)
        return await self._look(shopper, order_id)

    async def _move(self, shopper: Shopper, order_id: UUID, verb: str) -> None:
        status, found = await shopper.ask("POST", f"/v1/orders/{order_id}/{verb}", expected=(200, 409))
        # An answer that was lost: the move was made, and cannot be made again.
        if status == HTTPStatus.CONFLICT and await self._look(shopper, order_id) not in _BEYOND[verb]:
            raise Unexpected(f"{verb} of {order_id}: {found}")

    async def _look(self, shopper: Shopper, order_id: UUID) -> str:
        _, found = await shopper.ask("GET", f"/v1/orders/{order_id}")
        return outcome_of(found)


def outcome_of(order: Mapping[str, Any]) -> str:
    """Where it has come to: its status or, if it was rejected, why."""
    return str(order["rejection"] or order["status"])
