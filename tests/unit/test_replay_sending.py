"""Which letters of a plan are not sent after all, by themselves: the last look before each is sent."""

from datetime import timedelta
from typing import Final
from uuid import uuid4

from services.ops.replay.machine import ItemState
from services.ops.replay.replays import Item
from services.ops.replay.sending import TOO_OLD, Sight, unsendable, why_left_out
from tests.unit.dead_letters import NOON, letter

KEEP: Final = timedelta(days=30)


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
