"""The calls of one process, with a provider that the test holds in its hand; database and broker are real."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from uuid import uuid4

import pytest
from prometheus_client import REGISTRY

from contracts.payments import AuthorisePayment, CapturePayment, ReturnPayment
from contracts.values import OrderId, TenantId
from infra.service import Running, Service
from infra.worker import Worker
from services.payments import calling
from services.payments.calling import Calls
from services.payments.main import SERVICE
from services.payments.provider import Call, Done, InDoubt, Operation, Outcome, Refused
from tests.integration.messaging import REPLIES, Stage, items, until, working
from tests.integration.paying import COMMANDS, a_command

FAR_S = 600.0
COUNTER = "oaas_payment_refusals_total"


@dataclass
class Provider:
    """Answers what `manner` says, at once unless it waits, and notes what it was asked."""

    manner: Callable[[Call], Outcome]
    called: list[Call] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    done: dict[str, Outcome] = field(default_factory=dict)
    may_answer: asyncio.Event = field(default_factory=asyncio.Event)

    async def call(self, call: Call, metadata: dict[str, str]) -> Outcome:
        assert metadata.keys() == {"tenant_id", "order_id"}, "a callback could not say whose payment it is about"
        self.called.append(call)
        self.done[call.key] = Done("acq_1")
        await self.may_answer.wait()
        return self.manner(call)

    async def ask(self, key: str) -> Outcome | None:
        self.asked.append(key)
        return self.done.get(key)


def succeeds(_: Call) -> Outcome:
    return Done("acq_1")


def is_silent(call: Call) -> Outcome:
    raise InDoubt(call.key)


def breaks(call: Call) -> Outcome:
    raise ValueError(call.key)


@pytest.fixture(autouse=True)
async def nothing_left_over(stage: Stage) -> None:
    """What other tests have left to be called for is not this one's."""
    await stage.administrator.execute("TRUNCATE payments.payment, payments.unanswered")


@asynccontextmanager
async def calls(stage: Stage, folder: Path, provider: Provider, **changes: float) -> AsyncIterator[Worker]:
    """A worker whose calls go to this provider."""

    async def call(running: Running) -> None:
        await Calls(running, provider).run()

    service: Service = replace(SERVICE, background=call)
    async with working(service, stage.settings.model_copy(update=changes), folder) as worker:
        yield worker


async def answered(stage: Stage, count: int = 1) -> list[str]:
    """The types of the next answers."""
    return sorted(one["type"].split(".")[1] for one in items(await stage.read(REPLIES, count)))


def an_authorisation() -> AuthorisePayment:
    return AuthorisePayment(order_id=OrderId(uuid4()), amount=100, token="tok_ok")


async def test_a_commit_wakes_and_nothing_waits_for_a_poll(stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    provider = Provider(succeeds)
    provider.may_answer.set()
    monkeypatch.setattr(calling, "_LOOK_EVERY_S", FAR_S)
    tenant_id, command = TenantId(uuid4()), an_authorisation()
    async with calls(stage, tmp_path, provider):
        await stage.publish(COMMANDS, a_command(tenant_id, command))
        assert await answered(stage) == ["PaymentAuthorised"]
        await stage.publish(COMMANDS, a_command(tenant_id, CapturePayment(order_id=command.order_id)))
        assert await answered(stage) == ["PaymentCaptured"]
        await stage.publish(COMMANDS, a_command(tenant_id, ReturnPayment(order_id=command.order_id)))
        assert await answered(stage) == ["PaymentReturned"]
    assert [one.operation for one in provider.called] == [Operation.AUTHORISE, Operation.CAPTURE, Operation.REFUND]
    assert provider.asked == [], "nothing was in doubt"


async def test_the_intent_is_committed_and_nothing_is_locked_while_the_provider_is_called(stage: Stage, tmp_path: Path) -> None:
    provider = Provider(succeeds)
    tenant_id, command = TenantId(uuid4()), an_authorisation()
    async with calls(stage, tmp_path, provider):
        await stage.publish(COMMANDS, a_command(tenant_id, command))
        await until(lambda: _is(bool(provider.called)), lambda: "it was not called")
        query = "SELECT calling, revision FROM payments.payment WHERE order_id = $1 FOR UPDATE NOWAIT"
        [row] = await stage.rows(query, command.order_id)
        assert tuple(row) == ("AUTHORISE", 1)
        provider.may_answer.set()
        assert await answered(stage) == ["PaymentAuthorised"]


async def test_what_is_in_doubt_is_asked_about_and_never_guessed(stage: Stage, tmp_path: Path) -> None:
    provider = Provider(is_silent)
    provider.may_answer.set()
    async with calls(stage, tmp_path, provider):
        await stage.publish(COMMANDS, a_command(TenantId(uuid4()), an_authorisation()))
        assert await answered(stage) == ["PaymentAuthorised"]
    assert len(provider.called) == 1
    assert provider.asked == [provider.called[0].key]


async def test_when_a_lease_is_over_another_worker_asks_about_the_same_key(stage: Stage, tmp_path: Path) -> None:
    dead, alive = Provider(succeeds), Provider(succeeds)
    alive.may_answer.set()
    tenant_id = TenantId(uuid4())
    async with calls(stage, tmp_path, dead, payment_lease_s=0.5):
        await stage.publish(COMMANDS, a_command(tenant_id, an_authorisation()))
        await until(lambda: _is(bool(dead.called)), lambda: "it was not called")
    # Stopped in the middle of its call, which the other provider has never heard of.
    async with calls(stage, tmp_path, alive):
        assert await answered(stage) == ["PaymentAuthorised"]
    key = dead.called[0].key
    assert alive.asked == [key]
    assert [one.key for one in alive.called] == [key]


async def test_a_payment_that_meets_a_bug_holds_up_no_other(stage: Stage, tmp_path: Path) -> None:
    broken = an_authorisation()
    provider = Provider(lambda call: breaks(call) if call.amount == 666 else succeeds(call))
    provider.may_answer.set()
    tenant_id = TenantId(uuid4())
    async with calls(stage, tmp_path, provider, payment_calls_max=1, payment_lease_s=0.3):
        await stage.publish(COMMANDS, a_command(tenant_id, broken.model_copy(update={"amount": 666})))
        await until(lambda: _is(bool(provider.called)), lambda: "it was not called")
        await stage.publish(COMMANDS, *(a_command(tenant_id, an_authorisation()) for _ in range(3)))
        assert await answered(stage, 3) == ["PaymentAuthorised"] * 3
        # Its lease is over by then.
        await asyncio.sleep(0.3 + 2 * calling._LOOK_EVERY_S)
    assert ([one.amount for one in provider.called].count(666), provider.asked) == (1, []), "it was not set aside"


async def test_what_is_refused_is_called_for_again_under_new_keys_logged_counted_and_told_once(
    stage: Stage, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    provider = Provider(lambda call: Refused("no_luck") if call.operation is Operation.CAPTURE else succeeds(call))
    provider.may_answer.set()
    tenant_id, command = TenantId(uuid4()), an_authorisation()
    counted = REGISTRY.get_sample_value(COUNTER, {"operation": "CAPTURE"}) or 0
    async with calls(stage, tmp_path, provider, payment_backoff_s=0.05, payment_refused_backoff_max_s=0.2, payment_refusals_max=2):
        await stage.publish(COMMANDS, a_command(tenant_id, command))
        assert await answered(stage) == ["PaymentAuthorised"]
        await stage.publish(COMMANDS, a_command(tenant_id, CapturePayment(order_id=command.order_id)))
        assert await answered(stage) == ["StepFaulted"]
        await until(lambda: _is(len(provider.called) >= 7), lambda: f"it was called for {len(provider.called)} times")
        provider.manner = succeeds
        # Whoever waits was told nothing else in between.
        assert await answered(stage) == ["PaymentCaptured"]
    tries = provider.called[1:]
    assert len({call.key for call in tries}) == len(tries), "a key that was refused is called for again"
    assert not any(call.is_in_doubt for call in tries)
    refused = len(tries) - 1
    assert (REGISTRY.get_sample_value(COUNTER, {"operation": "CAPTURE"}) or 0) - counted == refused
    assert [record.levelname for record in caplog.records if record.message.endswith("refuses to capture")] == ["ERROR"] * refused


async def test_no_more_payments_are_worked_on_at_once_than_the_setting_says(stage: Stage, tmp_path: Path) -> None:
    provider = Provider(succeeds)
    async with calls(stage, tmp_path, provider, payment_calls_max=2):
        await stage.publish(COMMANDS, *(a_command(TenantId(uuid4()), an_authorisation()) for _ in range(5)))
        await until(lambda: _is(len(provider.called) == 2), lambda: f"{len(provider.called)} were called")
        # Two looks later there are no more.
        await asyncio.sleep(2 * calling._LOOK_EVERY_S)
        assert len(provider.called) == 2
        provider.may_answer.set()
        assert await answered(stage, 5) == ["PaymentAuthorised"] * 5


async def _is(seen: bool) -> bool:
    return seen
