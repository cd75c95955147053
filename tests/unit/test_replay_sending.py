"""Which letters of a plan are not sent after all, by themselves: the last look before each is sent."""

from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import uuid4

from contracts.values import TenantId
from services.ops.desk.model import Letter, State
from services.ops.replay.machine import ItemState
from services.ops.replay.replays import Item
from services.ops.replay.sending import TOO_OLD, Sight, unsendable, why_left_out

NOON: Final = datetime(2026, 11, 23, 12, tzinfo=UTC)
KEEP: Final = timedelta(days=30)


def letter() -> Letter:
    """It died at noon."""
    return Letter(
        tenant_id=TenantId(uuid4()),
        id=uuid4(),
        queue="inventory.commands.0",
        service="inventory",
        type="x",
        message_id=uuid4(),
        saga_id=None,
        subject="",
        trace_id=None,
        state=State.DEAD,
        fingerprint="x",
        exception_type="x",
        error="x",
        build="x",
        attempts=1,
        deaths=1,
        replays_in_vain=0,
        is_native=False,
        is_readable=True,
        sent_at=None,
        first_died_at=NOON,
        died_at=NOON,
        changed_at=NOON,
        revision=0,
        replay_id=None,
    )


def test_a_letter_that_grew_too_old_while_its_replay_was_paused_is_left_out() -> None:
    one = letter()
    item = Item(one.id, 1, one.queue, 0, 1, state=ItemState.WAITING, sends=0, sent_at=None, ended_at=None, detail="")
    assert why_left_out(Sight(item, one), NOON + KEEP, KEEP, includes_ended=False) is None
    assert why_left_out(Sight(item, one), NOON + KEEP + timedelta(seconds=1), KEEP, includes_ended=True) == TOO_OLD


def test_what_names_another_tenant_is_not_sent_in_a_frame_in_which_it_would_arrive_there() -> None:
    one = letter()
    others = f'{{"tenantid": "{uuid4()}"}}'
    assert unsendable(one, "ENVELOPE", others) is not None
    assert unsendable(one, "TEXT", others) is None, "without a frame it is read by nobody, and dies again"
    for form in ("ENVELOPE", "TEXT"):
        assert unsendable(one, form, f'{{"tenantid": "{one.tenant_id}"}}') is None
        assert unsendable(one, form, "{") is None
