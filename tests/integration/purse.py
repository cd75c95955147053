"""A payment provider in memory, as forgetful and unreliable as the network of the run, and as exact about money as a real one."""

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from uuid import UUID

from services.payments.provider import Call, Done, InDoubt, Operation, Outcome, Refused
from tests.integration.network import Faults

DOUBTS = 0.2
"""How often a call leaves nobody the wiser, at each of its ends."""
REFUSED_TOKEN = "tok_refused"


@dataclass
class Purse:
    """Does each operation once per key; may do it and not say so, or not do it and not say so."""

    faults: Faults
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    done: defaultdict[UUID, Counter[Operation]] = field(default_factory=lambda: defaultdict(Counter))
    """By payment, how often each operation was really done."""

    async def call(self, call: Call, metadata: dict[str, str]) -> Outcome:  # noqa: ARG002 - the port's shape
        self.faults.may_die()
        if self._is_out_of_order():
            raise InDoubt("it did not get there")
        if call.key not in self.outcomes:
            self.outcomes[call.key] = self._do(call)
        self.faults.may_die()
        if self._is_out_of_order():
            raise InDoubt("its answer was lost")
        return self.outcomes[call.key]

    async def ask(self, key: str) -> Outcome | None:
        if self._is_out_of_order():
            raise InDoubt("nobody answers")
        return self.outcomes.get(key)

    def _is_out_of_order(self) -> bool:
        # Also while the platform itself works: what is outside has its own bad days.
        return self.faults.random.random() < DOUBTS

    def _do(self, call: Call) -> Outcome:
        if call.operation is Operation.AUTHORISE and call.token == REFUSED_TOKEN:
            return Refused("insufficient_funds")
        self.done[call.payment_id][call.operation] += 1
        return Done(f"purse {call.payment_id}")

    def violation(self, payment_id: UUID, *, is_kept: bool) -> str | None:
        """What is wrong with the money of a payment whose order has ended, if anything is."""
        done = self.done[payment_id]
        if any(times > 1 for times in done.values()):
            return f"the payment was moved twice: {done}"
        taken = done[Operation.CAPTURE] - done[Operation.REFUND]
        held = done[Operation.AUTHORISE] - done[Operation.CAPTURE] - done[Operation.VOID]
        return None if (taken, held) == (int(is_kept), 0) else f"{taken} captures and {held} holds are left of the payment: {done}"
