"""`oaas why` and `oaas saga show` lead on to the dead letters of a saga, and say so if the desk does not answer."""

import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import pytest

from sagas.engine.instance import State
from tests.integration.desk import Desk, at_the_desk
from tests.integration.messaging import Stage
from tests.integration.replays import lay
from tests.integration.terminal import flat, oaas, sit_down


@pytest.fixture(scope="module")
async def shared(open_stage: Stage, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Desk]:
    settings = open_stage.settings.model_copy(update={"report_within_s": 0.1})
    async with at_the_desk(settings, tmp_path_factory.mktemp("desk"), with_letters=True) as desk:
        yield desk


@pytest.fixture
def desk(shared: Desk, monkeypatch: pytest.MonkeyPatch) -> Desk:
    sit_down(monkeypatch, shared.api.home, OAAS_API_URL=shared.base_url)
    return shared.of_another_tenant()


async def test_a_dead_letter_is_told_with_its_replays_in_vain_and_what_to_type(desk: Desk, open_stage: Stage) -> None:
    saga = await desk.bring_to(State.PARKED)
    [letter] = await lay(open_stage, desk.tenant_id, saga_id=saga, deaths=3, replays_in_vain=2)
    for words in (("why", saga), ("saga", "show", saga)):
        told = await oaas(*words)
        assert told.exit_code == 0, told.output
        assert "Its inventory.ReserveStock.v1 is a dead letter since 20" in flat(told)
        assert "(3 deaths, replayed twice in vain; Broken)" in flat(told)
        assert f"oaas dead-letters show {letter}\n" in told.output
        assert f"oaas dead-letters replay --saga {saga} --reason '...' --dry-run\n" in told.output
        [found] = json.loads((await oaas(*words, "--json")).stdout)["letters"]
        assert (found["id"], found["state"]) == (str(letter), "DEAD")


async def test_a_letter_that_is_being_replayed_is_told_with_by_whom(desk: Desk, open_stage: Stage) -> None:
    saga = await desk.bring_to(State.PARKED)
    [letter] = await lay(open_stage, desk.tenant_id, saga_id=saga)
    plan = (await desk.post("/dead-letters/replays", {"reason": "x", "letters": [str(letter)]})).json()
    assert (await desk.post(f"/dead-letters/replays/{plan['id']}/start", {})).status_code == 202
    replaying = "UPDATE ops.letter SET state = 'REPLAYING', replay_id = $2 WHERE id = $1"
    await open_stage.administrator.execute(replaying, letter, UUID(plan["id"]))
    told = await oaas("why", saga)
    assert f"died, and is being replayed by {plan['actor']} since 20" in flat(told), told.output
    assert f"oaas dead-letters replays --follow {plan['id']}\n" in told.output
    await desk.post(f"/dead-letters/replays/{plan['id']}/cancel", {"reason": "x"})


async def test_what_a_saga_has_ended_without_is_to_be_put_away(desk: Desk, open_stage: Stage) -> None:
    saga = await desk.bring_to(State.COMPLETED)
    [letter] = await lay(open_stage, desk.tenant_id, saga_id=saga)
    told = await oaas("why", saga)
    assert f"The saga has ended without it; put it away: oaas dead-letters archive {letter} --reason '...'" in flat(told), told.output


async def test_a_saga_without_dead_letters_has_no_word_of_them(desk: Desk) -> None:
    saga = await desk.bring_to(State.RUNNING)
    told = await oaas("why", saga)
    assert (told.exit_code, "dead letter" in told.output) == (0, False), told.output
    assert json.loads((await oaas("saga", "show", saga, "--json")).stdout)["letters"] == []


async def test_a_desk_that_does_not_answer_is_one_line_beside_the_story(
    open_stage: Stage, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with at_the_desk(open_stage.settings, tmp_path_factory.mktemp("alone")) as alone:
        sit_down(monkeypatch, alone.api.home, OAAS_API_URL=alone.base_url)
        saga = await alone.bring_to(State.PARKED)
        told = await oaas("why", saga)
        assert (told.exit_code, told.stderr.count("the desk did not answer, so nothing is told of dead letters")) == (0, 1), told.output
        as_json: dict[str, Any] = json.loads((await oaas("why", saga, "--json")).stdout)
        assert (as_json["letters"], [one["state"] for one in as_json["sagas"]]) == (None, ["PARKED"])
