"""The kinds of message, and the envelope they travel in (CloudEvents 1.0).

A contract is frozen and forbids extra fields when built; `received` ignores unknown fields, because during a rolling
deploy both releases are on the wire. A contract grows by optional fields only; a break is a new type.
"""

from collections.abc import Callable, Mapping
from typing import Any, Generic, Self, TypeVar, get_args
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, SerializeAsAny

from contracts.values import SagaId, TenantId


class Message(BaseModel):
    """Anything that one service tells another."""

    # An error's text goes into logs, dead letters and the saga's history: what was sent may be secret, such as a card's token.
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    @classmethod
    def received(cls, data: Mapping[str, Any]) -> Self:
        """The message as this release understands it; raises pydantic.ValidationError naming each wrong field."""
        return cls.model_validate(data, extra="ignore")


class Reply(Message):
    """The answer to a command, in the past tense."""


class Refusal(Reply):
    """An answer that says no: a plain fact, never an error."""


class StepFaulted(Reply):
    """A participant gave a command up: the letter is parked in its dead-letter queue and nobody knows if it took effect."""

    error: str = Field(max_length=300)
    fingerprint: str = Field(max_length=64)


class Later:
    """What a use case returns that cannot answer yet: somebody outside has to be asked first. No message; nothing is sent for it."""


LATER = Later()

R = TypeVar("R", bound=Reply)
State = TypeVar("State")


class Event(Message):
    """Something that happened, in the past tense. Whoever is interested listens."""

    @classmethod
    def heard_by(cls, decide: Callable[[Self, State], None]) -> tuple[type[Self], Callable[[Self, State], None]]:
        """This event beside the use case that takes it in."""
        return cls, decide


class Report(Event):
    """What anybody who handles messages tells the operators' desk about a letter of theirs."""


class Question(Message):
    """What the operators' desk asks whoever reads a queue. It goes to that queue, and a Report comes back."""


class Command(Message, Generic[R]):
    """Something to be done, as an imperative. `R` declares every answer it can get, refusals included."""

    @classmethod
    def replies(cls) -> tuple[type[Reply], ...]:
        """The classes that `R` declares."""
        for parent in cls.__mro__:
            declared = getattr(parent, "__pydantic_generic_metadata__", {}).get("args")
            if declared:
                return get_args(declared[0]) or declared
        raise TypeError(f"{cls.__name__} declares no replies: write class {cls.__name__}(Command[ItsReply])")

    @classmethod
    def refusals(cls) -> tuple[type[Refusal], ...]:
        """The replies that say no."""
        return tuple(reply for reply in cls.replies() if issubclass(reply, Refusal))

    @classmethod
    def answered_by(cls, decide: Callable[[Self, State], R | Later]) -> tuple[type[Self], Callable[[Self, State], R | Later]]:
        """This command beside the use case that answers it, or answers LATER; mypy refuses one that answers anything else."""
        return cls, decide


class Envelope(BaseModel):
    """One message with the CloudEvents attributes it travels under.

    `id` is a UUIDv7, for commands a UUIDv5 of saga, phase, step and round, so that asking again is the same message.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    specversion: str = "1.0"
    id: UUID
    source: str
    type: str
    subject: str
    time: AwareDatetime
    datacontenttype: str = "application/json"
    tenantid: TenantId
    sagaid: SagaId | None = None
    causationid: UUID | None = None
    commandid: UUID | None = Field(default=None, description="the command that a reply answers")
    expires: AwareDatetime | None = Field(default=None, description="when a command's retries end")
    sequence: int | None = Field(default=None, ge=1, description="counts the events of one subject; older ones are stale")
    traceparent: str | None = None
    data: SerializeAsAny[Message]
