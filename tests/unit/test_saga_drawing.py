"""`oaas saga draw`: the diagram says what the value says."""

import re

from sagas.engine.drawing import mermaid
from sagas.place_order import PLACE_ORDER

DRAWN = mermaid(PLACE_ORDER)


def test_every_step_its_command_and_its_time_is_drawn() -> None:
    assert 'step_reserve_quota["reserve-quota<br/>ReserveQuota, within 10 s"]' in DRAWN
    assert 'step_reserve_stock["reserve-stock<br/>ReserveStock, within 30 s"]' in DRAWN
    assert 'step_approve_order{{"pivot: approve-order<br/>ApproveOrder, within 10 s"}}' in DRAWN


def test_steps_that_are_asked_at_once_stand_together() -> None:
    assert re.search(
        r'subgraph group1 \["at once"\]\n\s+step_reserve_quota.*\n\s+step_charge_order.*\n\s+step_reserve_stock.*\n\s+end', DRAWN
    )


def test_every_refusal_leads_to_the_undoing_with_its_meaning() -> None:
    steps = [*enumerate(PLACE_ORDER.groups, 1), (len(PLACE_ORDER.groups), [PLACE_ORDER.pivot])]
    refusals = [
        (number, refusal.__name__, why) for number, group in steps for step in group if step for refusal, why in step.refusals.items()
    ]
    assert len(refusals) == 8
    for number, refusal, why in refusals:
        assert f'-. "{refusal}: {why}" .-> undo{number}' in DRAWN


def test_undoing_runs_in_reverse_and_ends_abandoned() -> None:
    assert 'undo1["undo: ReleaseStock<br/>RefundOrder<br/>ReleaseQuota"]' in DRAWN
    assert 'undo1 --> abandon["RejectOrder"]' in DRAWN


def test_every_arrow_leads_to_something_that_is_drawn() -> None:
    ids = set(re.findall(r"^\s*(?:subgraph )?(\w+) ?[\[({]", DRAWN, re.M)) | set(re.findall(r"--> (\w+)[\[({]", DRAWN))
    ends = set(re.findall(r"(\w+) (?:-->|-\.)", DRAWN)) | set(re.findall(r"(?:-->|\.->) (\w+)", DRAWN))
    assert ends <= ids
