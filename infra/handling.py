"""The table message -> use case of a service, and what a use case may expect of its repository."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from contracts.messages import Envelope, Later, Message, Reply
from infra.transaction import Scope

S = TypeVar("S")

Decide = Callable[[Envelope, Any], Reply | Later | None]


class Repository(Protocol[S]):
    """All SQL that a group of use cases needs: a constant number of statements, however many messages."""

    async def load(self, scope: Scope, received: Sequence[Envelope]) -> S:
        """Everything that deciding these messages needs, its rows locked in sorted order."""

    async def save(self, scope: Scope, state: S) -> None:
        """Write what the decisions changed, and send what they announce."""


@dataclass(frozen=True)
class Handles:
    """Use cases that share what their repository loads."""

    repository: Repository[Any]
    decide: dict[type[Message], Decide]


def handles(repository: Repository[S], *pairs: tuple[type[Message], Callable[[Any, S], Reply | Later | None]]) -> Handles:
    """A part of the table: each pair is made by `Command.answered_by` or `Event.heard_by`, which check its types."""
    return Handles(repository, {message: _on_data(decide) for message, decide in pairs})


def _on_data(decide: Callable[[Any, S], Reply | Later | None]) -> Decide:
    return lambda envelope, state: decide(envelope.data, state)
