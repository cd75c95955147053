"""What a scope says to the database, read where it is said."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from contracts.values import TenantId
from infra.transaction import Scope
from infra.wire import Answer, Wire


@contextmanager
def heard(scope: Scope) -> Iterator[list[str]]:
    """The statements that the scope's transaction asks from now on, its COMMIT included when this stays open so long."""
    with heard_on(scope.connection._wire) as said:
        yield said


@contextmanager
def heard_on(wire: Wire) -> Iterator[list[str]]:
    """The statements that this connection is given from now on."""
    said: list[str] = []
    put = wire._put

    def listen(tenant_id: TenantId | None, statement: str, arguments: Sequence[Any]) -> Answer:
        said.append(statement)
        return put(tenant_id, statement, arguments)

    wire._put = listen  # type: ignore[method-assign]  # for as long as somebody listens
    try:
        yield said
    finally:
        wire._put = put  # type: ignore[method-assign]  # as it was


@contextmanager
def flights(wire: Wire) -> Iterator[list[int]]:
    """How many statements each round trip of this connection takes from now on."""
    taken: list[int] = []
    depart = wire._depart

    def watch() -> None:
        taken.append(len(wire._waiting))
        depart()

    wire._depart = watch  # type: ignore[method-assign]  # for as long as somebody watches
    try:
        yield taken
    finally:
        wire._depart = depart  # type: ignore[method-assign]  # as it was
