"""Payments under random interleavings: commands, calls that are lost or late, crashes, other workers. A seed plays a run again.

The provider here is a few lines that know what a key is; what decides is the real model and the real use cases. However it went, once
everything has settled the money is where the last word wants it, and it was moved once.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from contracts.messages import Later, Reply
from contracts.payments import (
    AuthorisePayment,
    CapturePayment,
    PaymentAuthorised,
    PaymentCaptured,
    PaymentRefused,
    PaymentReturned,
    ReturnPayment,
)
from contracts.values import OrderId, TenantId
from services.payments.model import Actual, NothingToCapture, Payment, Payments, Wanted, next_operation, payment_id_of
from services.payments.provider import Call, Done, Operation, Outcome, Pending, Refused
from services.payments.use_cases import authorise_payment, capture_payment, is_authorised, is_captured, is_returned, return_payment

AT = datetime(2026, 11, 23, 12, tzinfo=UTC)
LEASE = timedelta(seconds=20)
PAUSE = timedelta(seconds=1)
ORDER = OrderId(UUID(int=1))
COMMANDS: dict[str, tuple[Any, Callable[[Any, Payments], Reply | Later], Callable[[Payment], Reply | Later]]] = {
    "authorise": (AuthorisePayment(order_id=ORDER, amount=100, token="x"), authorise_payment, is_authorised),
    "capture": (CapturePayment(order_id=ORDER), capture_payment, is_captured),
    "return": (ReturnPayment(order_id=ORDER), return_payment, is_returned),
}
WORKED = ("wait", "begin", "send", "deliver", "learn")
STEPS = ("authorise", "capture", "return", "begin", "send", "deliver", "learn", "lose", "crash", "wait", "decide", "worked")
RUNS = 2_500
REPLIES = {PaymentAuthorised, PaymentRefused, PaymentCaptured, PaymentReturned}
RANK = {
    Actual.NONE: 0,
    Actual.PENDING: 1,
    Actual.REFUSED: 2,
    Actual.AUTHORISED: 2,
    Actual.CAPTURED: 3,
    Actual.VOIDED: 4,
    Actual.REFUNDED: 4,
}


@dataclass
class Provider:
    """Does each key once. `manner` is how it takes an authorisation."""

    manner: str
    refuses: int = 0
    """How many captures, voids and refunds it refuses before it does any."""
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    moved: list[Operation] = field(default_factory=list)

    def perform(self, call: Call) -> Outcome:
        if call.key not in self.outcomes:
            self.outcomes[call.key] = self._perform(call)
        return self.outcomes[call.key]

    def decide(self) -> None:
        """What is pending is decided, but for what never is."""
        for key, outcome in self.outcomes.items():
            if isinstance(outcome, Pending) and self.manner != "never":
                self.outcomes[key] = self._decided()

    @property
    def held(self) -> int:
        return self._count(Operation.AUTHORISE) - self._count(Operation.VOID) - self._count(Operation.CAPTURE)

    @property
    def taken(self) -> int:
        return self._count(Operation.CAPTURE) - self._count(Operation.REFUND)

    def _perform(self, call: Call) -> Outcome:
        if call.operation is Operation.AUTHORISE:
            return Pending("x") if self.manner in ("late", "late no", "never") else self._decided()
        if self.refuses > 0:
            self.refuses -= 1
            return Refused("try_again_later")
        if call.operation is Operation.VOID and self.held == 0:
            # Voided while pending: it will hold nothing.
            self.outcomes = {key: Refused("voided") if isinstance(known, Pending) else known for key, known in self.outcomes.items()}
            return Done("x")
        assert self.held == 1 or (call.operation is Operation.REFUND and self.taken == 1), f"{call.operation} after {self.moved}"
        self.moved.append(call.operation)
        return Done("x")

    def _decided(self) -> Outcome:
        if self.manner in ("no", "late no"):
            return Refused("insufficient_funds")
        self.moved.append(Operation.AUTHORISE)
        return Done("x")

    def _count(self, operation: Operation) -> int:
        return self.moved.count(operation)


@dataclass
class Flight:
    """A call that a worker has committed to make."""

    call: Call
    outcome: Outcome | None = None
    was_sent: bool = False


@dataclass
class World:
    chance: random.Random
    provider: Provider = field(init=False)
    payments: Payments = field(init=False)
    now: datetime = AT
    flights: list[Flight] = field(default_factory=list)
    network: list[Flight] = field(default_factory=list)
    """Requests on their way, also those that nobody waits for any more."""
    waiting: set[str] = field(default_factory=set)
    answers: dict[str, set[Reply]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.provider = Provider(self.chance.choice(("yes", "no", "late", "late no", "never")), self.chance.choice((0, 0, 1, 4)))
        self.payments = Payments({ORDER: Payment(ORDER, payment_id_of(TenantId(UUID(int=2)), ORDER))})

    @property
    def payment(self) -> Payment:
        return self.payments.of[ORDER]

    def do(self, step: str) -> None:
        if step in COMMANDS:
            self._ask(step)
        elif step == "worked":
            for one in WORKED:
                self.do(one)
        elif step == "begin":
            self._begin()
        elif step == "wait":
            self.now += timedelta(seconds=30)
        elif step == "decide":
            self.provider.decide()
        elif step == "deliver" and self.network:
            flight = self.network.pop(self.chance.randrange(len(self.network)))
            flight.outcome = self.provider.perform(flight.call)
        elif self.flights:
            self._fly(step)

    def settle(self) -> None:
        """Everybody is well from now on."""
        while self.network:
            self.do("deliver")
        # No worker is slower than its lease any more: what it began before is not learnt.
        self.flights.clear()
        for _ in range(15):
            for step in ("wait", "decide", "begin", "send", "deliver", "learn"):
                self.do(step)

    def _ask(self, name: str) -> None:
        command, use_case, _ = COMMANDS[name]
        try:
            reply = use_case(command, self.payments)
        except NothingToCapture:
            return
        # As the repository does when it saves.
        if self.payment.changed:
            self.payment.be_seen_to(self.now)
        self._answered(name, reply)
        self._answer_whoever_waits()

    def _begin(self) -> None:
        if self.payment.due_at is not None and self.payment.due_at <= self.now:
            call = self.payment.intend(self.now, LEASE)
            if call is not None:
                self.flights.append(Flight(call))

    def _fly(self, step: str) -> None:
        answered = [flight for flight in self.flights if flight.outcome is not None]
        flight = self.chance.choice(answered if step == "learn" and answered else self.flights)
        if step == "send" and not flight.was_sent:
            flight.was_sent = True
            if flight.call.is_in_doubt and flight.call.key in self.provider.outcomes:
                flight.outcome = self.provider.outcomes[flight.call.key]
            else:
                self.network.append(flight)
        elif step in ("learn", "lose", "crash") and (step != "learn" or flight.outcome is not None):
            self.flights.remove(flight)
            was = self.payment.actual
            if step != "crash" and self.payment.learn(flight.call, flight.outcome if step == "learn" else None, self.now, PAUSE):
                assert RANK[self.payment.actual] >= RANK[was], f"it was {was} and is {self.payment.actual}"
                self._answer_whoever_waits()

    def _answer_whoever_waits(self) -> None:
        for name in sorted(self.waiting):
            self._answered(name, COMMANDS[name][2](self.payment))

    def _answered(self, name: str, reply: Reply | Later) -> None:
        if isinstance(reply, Later):
            self.waiting.add(name)
            return
        self.waiting.discard(name)
        self.answers.setdefault(name, set()).add(reply)
        if isinstance(reply, PaymentReturned | PaymentRefused):
            assert (self.provider.held, self.provider.taken) == (0, 0), f"{name} was answered {reply!r}, after {self.provider.moved}"
        if isinstance(reply, PaymentCaptured):
            assert self.provider.taken == 1


def play(seed: int) -> World:
    """One run, the same for the same seed, and then everybody is well until it has settled."""
    chance = random.Random(seed)
    world = World(chance)
    # In some runs most is asked for and little happens, in others it is the other way round.
    weights = [chance.choice((0.3, 1, 3)) for _ in STEPS]
    for step in chance.choices(STEPS, weights, k=chance.randrange(100)):
        world.do(step)
    if world.provider.manner == "never" or chance.random() < 0.3:
        # What is never decided waits until somebody gives it back.
        world.do("return")
    world.settle()
    return world


def check(world: World) -> None:
    """What holds of every run."""
    payment, provider = world.payment, world.provider
    assert world.waiting == set(), "somebody was never answered"
    assert len(provider.moved) == len(set(provider.moved)), f"moved twice: {provider.moved}"
    ends = {Wanted.AUTHORISED: (1, 0), Wanted.CAPTURED: (0, 1)}
    assert (provider.held, provider.taken) == (ends.get(payment.wanted, (0, 0)) if payment.actual is not Actual.REFUSED else (0, 0))
    assert next_operation(payment) is None
    assert payment.due_at is None
    assert payment.token is None, "the card is kept though nobody calls for it any more"
    assert (payment.refusals, payment.refusal is None) == (0, payment.actual is not Actual.REFUSED)


@pytest.mark.parametrize("part", range(4))
def test_however_it_goes_money_is_moved_once_and_ends_where_the_last_word_wants_it(part: int) -> None:
    for seed in range(part * RUNS, (part + 1) * RUNS):
        try:
            check(play(seed))
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error


def test_the_runs_reach_every_end_and_every_operation() -> None:
    worlds = [play(seed) for seed in range(RUNS)]
    assert {world.payment.actual for world in worlds} == set(Actual) - {Actual.PENDING}
    assert {operation for world in worlds for operation in world.provider.moved} == set(Operation)
    assert {type(reply) for world in worlds for replies in world.answers.values() for reply in replies} == REPLIES


def test_a_payment_of_another_order_or_tenant_has_another_id() -> None:
    tenant_id = TenantId(uuid4())
    assert payment_id_of(tenant_id, ORDER) == payment_id_of(tenant_id, ORDER)
    assert len({payment_id_of(tenant_id, ORDER), payment_id_of(TenantId(uuid4()), ORDER), payment_id_of(tenant_id, OrderId(uuid4()))}) == 3
