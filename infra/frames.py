"""The wire encoding: one AMQP message carries 1..N envelopes (CloudEvents batch, JSON).

Identity, inbox, retry and parking are per envelope, never per frame, so that a sweeper may regroup envelopes freely.
What cannot be read is set aside with as much of its identity as can be told, and never takes its neighbours along.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from pydantic import ValidationError
from pydantic_core import from_json, to_json

from contracts.catalog import UnknownMessage, class_of
from contracts.messages import Command, Envelope, Message
from contracts.values import SagaId, TenantId

CONTENT_TYPE: Final = "application/cloudevents-batch+json"


@dataclass(frozen=True, slots=True)
class Unreadable:
    """What arrived where an envelope should be: a body that is no frame, or an envelope that keeps no contract."""

    body: str
    error: Exception
    id: UUID | None = None
    tenantid: TenantId | None = None
    sagaid: SagaId | None = None
    type: str | None = None
    subject: str = ""
    traceparent: str | None = None
    in_frame: bool = True
    """False if the whole body is no frame."""

    @property
    def is_command(self) -> bool:
        """Whether a saga waits for an answer to it."""
        try:
            return self.type is not None and issubclass(class_of(self.type), Command)
        except UnknownMessage:
            return False


class NilTenant(ValueError):
    """The envelope's tenant is the nil UUID, which is no tenant's: what nobody can be found for belongs to it at the desk."""


class NotAFrame(ValueError):
    """The body is not a JSON array of CloudEvents."""


def encode(bodies: Sequence[str]) -> bytes:
    """A frame of envelopes that are JSON already."""
    return ("[" + ",".join(bodies) + "]").encode()


def decode(body: bytes) -> Iterator[Envelope | Unreadable]:
    """Every envelope of the frame, in order; an Unreadable for each that is none."""
    try:
        items = from_json(body)
    except ValueError as error:
        yield Unreadable(body.decode(errors="replace"), error, in_frame=False)
        return
    if not isinstance(items, list) or not items:
        yield Unreadable(body.decode(errors="replace"), NotAFrame(NotAFrame.__doc__), in_frame=False)
        return
    for item in items:
        try:
            yield read_envelope(item)
        except (ValidationError, NilTenant, UnknownMessage, TypeError, KeyError) as error:
            yield _unreadable(item, error)


def text_at(body: bytes, position: int) -> str:
    """The JSON of the frame's envelope at this position, with every attribute that it came with."""
    return to_json(from_json(body)[position]).decode()


def read_envelope(item: Mapping[str, Any]) -> Envelope:
    """The envelope with its data as the class its type names; unknown attributes are ignored.

    Raises pydantic.ValidationError, NilTenant, UnknownMessage, KeyError or TypeError for what is no envelope.
    """
    envelope = Envelope.model_validate({**item, "data": read_data(item["type"], item["data"])}, extra="ignore")
    if not envelope.tenantid.int:
        raise NilTenant(NilTenant.__doc__)
    return envelope


def read_data(type: str, data: Mapping[str, Any]) -> Message:
    """The message that travels under this name; raises UnknownMessage or pydantic.ValidationError."""
    return class_of(type).received(data)


def _unreadable(item: Any, error: Exception) -> Unreadable:
    body = to_json(item).decode()
    if not isinstance(item, dict):
        return Unreadable(body, error)
    tenant, saga = _uuid(item.get("tenantid")), _uuid(item.get("sagaid"))
    return Unreadable(
        body,
        error,
        id=_uuid(item.get("id")),
        tenantid=TenantId(tenant) if tenant and tenant.int else None,
        sagaid=SagaId(saga) if saga else None,
        type=item["type"] if isinstance(item.get("type"), str) else None,
        subject=str(item.get("subject", ""))[:200],
        traceparent=item["traceparent"] if isinstance(item.get("traceparent"), str) else None,
    )


def _uuid(value: object) -> UUID | None:
    try:
        return UUID(str(value))
    except ValueError:
        return None
