"""Planning a replay: exactly the letters that fit now, which of them are left out and why, and what an operator should know first.

Nothing is sent. What dies later is not in the plan, and what changes before it is sent will be left out (services/ops/replay/sending.py).
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from contracts.addresses import is_work_queue
from contracts.values import TenantId
from infra.identifiers import uuid7
from infra.settings import Settings
from infra.transaction import Transactions
from services.ops.desk.auditing import Entry, Outcome, record
from services.ops.desk.model import NOBODY, State
from services.ops.replay import candidates, parts, replays
from services.ops.replay.candidates import Candidate
from services.ops.replay.cautions import cautions
from services.ops.replay.machine import Replay
from services.ops.replay.replays import Planned
from services.ops.replay.sending import ended_sagas

_SAMPLE: Final = 10


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What an operator wants replayed. `tenant_id` is the operator's, None for one of the platform; `filter` is what was said, as JSON."""

    actor: str
    tenant_id: TenantId | None
    reason: str
    filter: str
    include_ended: bool = False
    include_held_back: bool = False
    is_named: bool = False
    """Its letters were named one by one."""


@dataclass
class Sorted:
    """The letters of a plan in the order in which they will be sent, and how many of the others are left out for which reason."""

    going: list[Candidate] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    ended: int = 0
    """Those that go although their saga has ended."""


@dataclass(frozen=True)
class Summary:
    """What the plan says to an operator."""

    by_queue: Mapping[str, int]
    by_tenant: Mapping[str, int]
    by_type: Mapping[str, int]
    left_out: Mapping[str, int]
    warnings: Sequence[str]
    sample: Sequence[str]


LEFT_OUT: Final = ("ended", "held_back", "too_old", "replaying", "unreadable", "not_dead")
"""Why a letter is left out: its saga has ended; it was replayed in vain too often; its service may have forgotten it, and could handle it
twice; it is being replayed; it is no envelope (named, it is sent as it came), or its queue is gone; it is settled or archived."""


def why_left_out(letter: Candidate, wish: Wish, has_ended: bool, now: datetime, keep: timedelta) -> str | None:
    """One of LEFT_OUT, or None if it goes."""
    if letter.state != State.DEAD:
        return "replaying" if letter.state == State.REPLAYING else "not_dead"
    if not is_work_queue(letter.queue) or not (letter.is_readable or wish.is_named):
        return "unreadable"
    if letter.is_too_old(now, keep):
        return "too_old"
    if has_ended and not wish.include_ended:
        return "ended"
    if letter.is_held_back and not wish.include_held_back:
        return "held_back"
    return None


async def plan(
    transaction: Transactions, settings: Settings, wish: Wish, found: Mapping[TenantId, Sequence[UUID]], planned_at: datetime
) -> Replay:
    """A replay of these letters, PLANNED and committed, with its audit entry; of no letters there is nothing to keep but that."""
    chosen = await _look(transaction, wish, found, planned_at, timedelta(days=settings.dead_letter_keep_days))
    chosen.going.sort(key=lambda letter: (letter.sent_at or letter.first_died_at, letter.id))
    warnings = await cautions(transaction, settings, chosen.going, ended=chosen.ended)
    replay = Replay(
        tenant_id=wish.tenant_id or NOBODY,
        id=uuid7(planned_at),
        actor=wish.actor,
        reason=wish.reason,
        filter=wish.filter,
        includes_ended=wish.include_ended,
        total=len(chosen.going),
        summary=json.dumps(asdict(_summary(chosen, warnings))),
        planned_at=planned_at,
        expires_at=planned_at + timedelta(seconds=settings.replay_plan_keep_s),
    )
    await _keep(transaction, replay, chosen.going)
    return replay


async def _look(transaction: Transactions, wish: Wish, found: Mapping[TenantId, Sequence[UUID]], now: datetime, keep: timedelta) -> Sorted:
    chosen = Sorted()
    async with transaction.batch() as batch:
        for tenant_id, ids in sorted(found.items()):
            async with batch.scope(tenant_id) as scope:
                own = await candidates.read(scope, ids)
                ended = await ended_sagas(scope, own)
            for letter in own:
                why = why_left_out(letter, wish, letter.saga_id in ended, now, keep)
                if why is None:
                    chosen.going.append(letter)
                    chosen.ended += letter.saga_id in ended
                else:
                    chosen.left_out[why] += 1
    return chosen


async def _keep(transaction: Transactions, replay: Replay, going: Sequence[Candidate]) -> None:
    by_tenant: dict[TenantId, list[Planned]] = {}
    for number, letter in enumerate(going, 1):
        item = Planned(letter.id, number, letter.queue, letter.revision, letter.deaths)
        by_tenant.setdefault(letter.tenant_id, []).append(item)
    async with transaction.batch() as batch:
        async with batch.scope(replay.tenant_id) as scope:
            if going:
                await replays.add(scope, replay)
            detail = f"{replay.total} letters"
            told = Entry(actor=replay.actor, verb="plan replay", reason=replay.reason, outcome=Outcome.DONE, detail=detail)
            await record(scope, [replace(told, filter=replay.filter, replay_id=replay.id if going else None)])
        for tenant_id, items in sorted(by_tenant.items()):
            async with batch.scope(tenant_id) as scope:
                await parts.add(scope, replay, len(items))
                await replays.add_items(scope, replay.id, items)


def _summary(chosen: Sorted, warnings: Sequence[str]) -> Summary:
    return Summary(
        by_queue=_counted(letter.queue for letter in chosen.going),
        by_tenant=_counted(str(letter.tenant_id) for letter in chosen.going),
        by_type=_counted(letter.type for letter in chosen.going),
        left_out={why: chosen.left_out[why] for why in LEFT_OUT},
        warnings=warnings,
        sample=[str(letter.id) for letter in chosen.going[:_SAMPLE]],
    )


def _counted(names: Iterable[str]) -> dict[str, int]:
    return dict(Counter(names).most_common())
