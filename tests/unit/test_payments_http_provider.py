"""What a payment provider answers over HTTP, as we read it: only what can be noted is an outcome."""

import json
from typing import Any

import httpx
import pytest

from services.payments.http_provider import HttpProvider, NotUnderstood
from services.payments.provider import Done, InDoubt, Outcome, Pending, Refused


async def answer(status: int, told: Any) -> Outcome | None:
    """What is learnt from this answer."""
    transport = httpx.MockTransport(lambda _: httpx.Response(status, content=json.dumps(told)))
    async with HttpProvider("http://provider.test", 1, 1, transport) as provider:
        return await provider.ask("key")


@pytest.mark.parametrize(
    ("told", "outcome"),
    [
        ({"status": "done", "reference": "acq_1"}, Done("acq_1")),
        ({"status": "done", "reference": "x" * 200}, Done("x" * 200)),
        ({"status": "pending", "reference": "acq_1"}, Pending("acq_1")),
        ({"status": "refused", "code": "insufficient_funds"}, Refused("insufficient_funds")),
        ({"status": "refused", "code": "x" * 100}, Refused("x" * 64)),
    ],
)
async def test_what_can_be_noted_is_an_outcome(told: Any, outcome: Outcome) -> None:
    assert await answer(200, told) == outcome


@pytest.mark.parametrize("reference", ["", None, "x" * 201, 5, "a\x00b", "\ud800"])
@pytest.mark.parametrize("status", ["done", "pending"])
async def test_a_reference_that_could_not_be_stored_is_no_outcome(status: str, reference: Any) -> None:
    with pytest.raises(NotUnderstood):
        await answer(200, {"status": status, "reference": reference})


@pytest.mark.parametrize("code", ["", None, 5, "a\x00b"])
async def test_a_refusal_without_a_code_that_can_be_stored_is_no_outcome(code: Any) -> None:
    with pytest.raises(NotUnderstood):
        await answer(200, {"status": "refused", "code": code})


@pytest.mark.parametrize("told", [{"status": "done"}, {"status": "refused"}, {"status": "else"}, {}, [], None, "done"])
async def test_what_is_not_agreed_on_is_no_outcome(told: Any) -> None:
    with pytest.raises(NotUnderstood):
        await answer(200, told)


@pytest.mark.parametrize("status", [408, 429, 500, 503])
async def test_what_may_be_otherwise_soon_leaves_the_call_in_doubt(status: int) -> None:
    with pytest.raises(InDoubt):
        await answer(status, {})


async def test_what_the_provider_does_not_know_has_no_outcome() -> None:
    assert await answer(404, {}) is None
