"""Simulated participants: each does one step of one saga, and keeps what the real ones keep.

That is the remembered answer per command id (the inbox), and one row that is held or withdrawn (the hold and its tombstone).
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from enum import Enum, auto
from types import MappingProxyType
from typing import Any, Final
from uuid import UUID
from zlib import crc32

from pydantic import ValidationError

from contracts.messages import Command, Refusal, Reply
from sagas.engine.instance import Phase
from sagas.engine.machine import Ask

Examples = Mapping[type[Reply], Reply]
NO_EXAMPLES: Final[Examples] = MappingProxyType({})


class NoExample(LookupError):
    """The kit cannot make that reply up. Give `storm` one in `examples`."""

    def __init__(self, reply: type[Reply], error: ValidationError) -> None:
        super().__init__(f"{NoExample.__doc__} {error}")
        self.reply = reply


class Row(Enum):
    """What a participant keeps of the saga."""

    NOTHING = auto()
    HELD = auto()
    WITHDRAWN = auto()


class Participant:
    """Holds on ask, withdraws on undo, and answers a command that it knows as it did before."""

    def __init__(self, step: str, examples: Examples) -> None:
        self.step, self.examples = step, examples
        self.row = Row.NOTHING
        self.answers: dict[UUID, Reply] = {}

    def handle(self, ask: Ask, refusal: type[Refusal] | None) -> Reply:
        """The answer; `refusal` if the participant has a reason of its own to say no, and may."""
        if ask.command_id not in self.answers:
            self.answers[ask.command_id] = self.withdraw(ask) if ask.phase is Phase.UNDO else self.hold(ask, refusal)
        return self.answers[ask.command_id]

    def withdraw(self, ask: Ask) -> Reply:
        self.row = Row.WITHDRAWN
        return self.success(type(ask.command))

    def hold(self, ask: Ask, refusal: type[Refusal] | None) -> Reply:
        if self.row is Row.WITHDRAWN:
            # A step before the pivot declares a refusal, or verify() would not have it.
            return self.made_up(refusal or ask.command.refusals()[0])
        if self.row is Row.NOTHING and refusal is not None:
            return self.made_up(refusal)
        self.row = Row.HELD
        return self.success(type(ask.command))

    def success(self, command: type[Command[Any]]) -> Reply:
        """What it says when it has done what it was asked."""
        return self.made_up(success_of(command))

    def made_up(self, reply: type[Reply]) -> Reply:
        """An answer of that class: the example of it, or one whose fields are made up, the same each time for the same step.

        Raises NoExample.
        """
        if reply in self.examples:
            return self.examples[reply]
        number = number_of(self.step)
        made: dict[Any, object] = {str: f"made-up-{number}", int: number, UUID: UUID(int=number), bool: True, float: float(number)}
        made |= {datetime: datetime(2026, 1, 2, tzinfo=UTC), date: date(2026, 1, 2)}
        fields = {name: made.get(field.annotation) for name, field in reply.model_fields.items() if field.is_required()}
        try:
            return reply(**fields)
        except ValidationError as error:
            raise NoExample(reply, error) from None


def success_of(command: type[Command[Any]]) -> type[Reply]:
    """The first answer that the command declares and that is no refusal."""
    return next(reply for reply in command.replies() if not issubclass(reply, Refusal))


def number_of(step: str) -> int:
    """The made-up number that the step's participant answers with, where its answer has one."""
    return crc32(step.encode()) % 1_000 + 1


def examples_of(replies: Sequence[Reply]) -> Examples:
    return {type(reply): reply for reply in replies}
