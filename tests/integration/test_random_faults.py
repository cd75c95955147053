"""Hundreds of random days of the real services on the real database: whatever the network does, every order keeps its promise.

A failure names its seed; `await World(platform, seed).run()` plays it again, and `world.network.told` tells what happened.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any, Final

import pytest

from contracts.values import OrderStatus, Rejection
from infra.batch import Batches
from infra.inbox import Inbox, Key
from infra.settings import Settings
from sagas.engine.instance import State
from services.inventory.model import HoldState as StockHold
from services.inventory.model import Shelf
from services.payments.provider import Call, Outcome
from services.tenants.model import HoldState as QuotaHold
from services.tenants.model import Quota
from tests.integration.processes import CONNECTIONS, Pools, pools
from tests.integration.purse import Purse
from tests.integration.troubled import World
from tests.integration.verdict import Ended, Verdict, verdict

RUNS: Final = 120


@pytest.fixture
async def platform(settings: Settings, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Pools]:
    # Every fault is logged with its story; here there are hundreds, and nobody reads them.
    caplog.set_level("CRITICAL")
    monkeypatch.setattr("infra.consumer._AFTER_A_CRASH_S", 0.0)
    # Its real pauses are random; here only the seed may be.
    monkeypatch.setattr("services.payments.calling.Calls._pause_after", lambda *_: timedelta(seconds=1))
    async with pools(settings) as opened:
        yield opened


async def verdicts(platform: Pools) -> AsyncIterator[tuple[int, Verdict]]:
    """Each run's seed and verdict, some runs at once: their tenants are their own."""

    async def judged(seed: int) -> Verdict:
        try:
            world = await World(platform, seed).run()
            found = await verdict(world)
            found.wrong += [f"{len(world.network.unheard)} replays were neither settled nor dead again"] if world.network.unheard else []
            return found
        except Exception as error:  # whatever it was, it is raised again with the seed that replays it
            error.add_note(f"in the run of seed {seed}")
            raise

    for seeds in (range(first, min(first + CONNECTIONS, RUNS)) for first in range(0, RUNS, CONNECTIONS)):
        for seed, found in zip(seeds, await asyncio.gather(*map(judged, seeds)), strict=True):
            yield seed, found


@pytest.mark.timeout(300)
async def test_whatever_the_network_does_each_order_is_held_in_full_or_not_at_all_or_waits_for_people(platform: Pools) -> None:
    ends = Counter[Ended]()
    async for seed, found in verdicts(platform):
        assert not found.wrong, f"seed {seed}: {found.wrong}"
        ends += found.ends
    # The runs go everywhere, or they would prove little.
    assert {ended.state for ended in ends} == {State.COMPLETED, State.ABANDONED, State.NEEDS_ATTENTION}, ends
    assert {ended.rejection for ended in ends} >= {None, *Rejection}, ends
    cancelled = {(ended.state, ended.cancelling) for ended in ends if ended.status is OrderStatus.CANCELLED}
    assert cancelled >= {(State.COMPLETED, State.COMPLETED), (State.ABANDONED, None)}, ends


def forgetful_inbox(patch: pytest.MonkeyPatch) -> None:
    """Every message is new, however often it comes."""
    take = Inbox.take

    async def take_as_new(inbox: Inbox, connection: Any, tenant_id: Any, keys: Any, now: Any) -> tuple[set[Key], dict[Key, str | None]]:
        await take(inbox, connection, tenant_id, keys, now)
        return set(keys), {}

    patch.setattr(Inbox, "take", take_as_new)


def no_tombstone(patch: pytest.MonkeyPatch) -> None:
    """A release that finds nothing to give back leaves no note that it came."""
    for shelf, new in ((Shelf, StockHold.NEW), (Quota, QuotaHold.NEW)):
        patch.setattr(shelf, "withdraw", _only_if_held(shelf.withdraw, new))


def forgetful_provider(patch: pytest.MonkeyPatch) -> None:
    """A payment provider that knows no key again, neither called nor asked: the verdict counts money, not keys."""
    call = Purse.call

    async def call_anew(purse: Purse, wanted: Call, metadata: dict[str, str]) -> Outcome:
        purse.outcomes.clear()
        return await call(purse, wanted, metadata)

    async def know_nothing(_purse: Purse, _key: str) -> Outcome | None:
        return None

    patch.setattr(Purse, "call", call_anew)
    patch.setattr(Purse, "ask", know_nothing)


def silent_about_replays(patch: pytest.MonkeyPatch) -> None:
    """Nobody hears that a replayed letter was handled."""
    patch.setattr(Batches, "_report", lambda *_: None)


def _only_if_held(withdraw: Callable[[Any, Any], None], new: object) -> Callable[[Any, Any], None]:
    def leave_no_note(shelf: Any, order_id: Any) -> None:
        if shelf.holds[order_id].state is not new:
            withdraw(shelf, order_id)

    return leave_no_note


@pytest.mark.parametrize("take_away", [forgetful_inbox, no_tombstone, forgetful_provider, silent_about_replays])
async def test_without_any_one_of_its_means_the_promise_breaks(
    platform: Pools, monkeypatch: pytest.MonkeyPatch, take_away: Callable[[pytest.MonkeyPatch], None]
) -> None:
    take_away(monkeypatch)
    async for _, found in verdicts(platform):
        if found.wrong:
            return
    pytest.fail(f"{RUNS} runs did not notice")


async def test_a_seed_replays_the_same_run_alone_as_among_others(platform: Pools) -> None:
    among_others, *_ = await asyncio.gather(*(World(platform, seed).run() for seed in (17, 18, 19)))
    alone = await World(platform, 17).run()
    assert among_others.network.told == alone.network.told
    assert (await verdict(among_others)).ends == (await verdict(alone)).ends
