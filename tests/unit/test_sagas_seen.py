"""What the desk keeps of a group of events about sagas: of each saga the newest."""

from datetime import UTC, datetime
from typing import Final
from uuid import UUID, uuid4

from contracts.catalog import name_of
from contracts.messages import Envelope, Event
from contracts.sagas import SagaEnded, SagaHalted, SagaResumed
from contracts.values import SagaId, TenantId
from services.ops.desk.sagas_seen import SAGAS_SEEN, Told, note

TENANT: Final = TenantId(UUID(int=1))
PARKED: Final = SagaHalted(saga="place-order", version=2, state="PARKED", step="reserve-stock", fingerprint="f" * 16)
RUNNING: Final = SagaResumed(saga="place-order", version=2, state="RUNNING")
ENDED: Final = SagaEnded(saga="place-order", version=2, state="ABANDONED", why="FAULT")


def told(saga: UUID, event: Event, sequence: int | None) -> Envelope:
    return Envelope(
        id=uuid4(),
        source="/sagas",
        type=name_of(type(event)),
        subject="x",
        time=datetime(2026, 11, 23, tzinfo=UTC),
        tenantid=TENANT,
        sagaid=SagaId(saga),
        sequence=sequence,
        data=event,
    )


def test_of_each_saga_the_newest_event_is_kept_in_whatever_order_they_come() -> None:
    one, other = uuid4(), uuid4()
    events = [told(one, PARKED, 3), told(other, RUNNING, 9), told(one, ENDED, 5), told(one, RUNNING, 4), told(other, PARKED, 8)]
    for order in (events, events[::-1]):
        state: Told = {}
        for event in order:
            note(event, state)
        assert {saga: envelope.data for saga, envelope in state.items()} == {one: ENDED, other: RUNNING}


def test_an_event_without_a_number_never_wins() -> None:
    saga = uuid4()
    state: Told = {}
    for event in (told(saga, PARKED, 1), told(saga, ENDED, None)):
        note(event, state)
    assert state[saga].data == PARKED


def test_the_desk_hears_everything_that_the_coordinator_tells_of_a_saga() -> None:
    assert set(SAGAS_SEEN.decide) == {SagaHalted, SagaResumed, SagaEnded}
