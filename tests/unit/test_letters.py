"""The story of a dead letter: complete, and never too long for the broker, whatever went wrong."""

import json
from typing import Final
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp.common import FieldTable
from pamqp.encode import field_table

from contracts import headers
from contracts.inventory import ReleaseStock
from contracts.messages import Envelope
from contracts.values import OrderId, SagaId, TenantId
from infra.build import build
from infra.clock import now
from infra.deliveries import Replay
from infra.frames import Unreadable, decode, encode
from infra.letters import Headers, fault_of, fingerprint, headers_of, said_by

BYTES_MAX: Final = 13_000
"""A tenth of what kills a connection (131 064)."""
QUEUE: Final = "inventory.commands.0"
ANY: Final = st.characters(exclude_categories=())
"""Lone surrogates, too."""
REPLAY: Final = Replay(uuid4(), uuid4())


def raised(error: Exception) -> Exception:
    """The error as somebody caught it, with its stack."""
    with pytest.raises(type(error)) as caught:
        raise error
    return caught.value


def told(envelope: Envelope | Unreadable, error: Exception) -> Headers:
    return headers_of(envelope, error, QUEUE, "inventory", 3, uuid4(), REPLAY)


def sound() -> Envelope:
    data = ReleaseStock(order_id=OrderId(uuid4()))
    about = {"source": "/sagas", "type": "inventory.ReleaseStock.v1", "subject": "x", "time": now(), "traceparent": "00-1-2-01"}
    return Envelope(id=uuid4(), tenantid=TenantId(uuid4()), sagaid=SagaId(uuid4()), data=data, **about)


def on_the_wire(found: Headers) -> int:
    """Bytes; raises for what the broker's protocol cannot carry."""
    table: FieldTable = dict(found)
    return len(field_table(table))


def fails_here(error: Exception) -> Exception:
    return raised(error)


def fails_elsewhere(error: Exception) -> Exception:
    with pytest.raises(type(error)) as caught:
        raise error
    return caught.value


def in_a_library(text: str) -> Exception:
    """Raised below us, by whoever is called at one place of ours."""
    with pytest.raises(json.JSONDecodeError) as caught:
        json.loads(text)
    return caught.value


def test_a_fingerprint_is_the_kind_of_failure_and_its_place_in_our_own_code() -> None:
    first = fingerprint(fails_here(ValueError("three")))
    assert fingerprint(fails_here(ValueError("four"))) == first, "what it says does not count"
    assert fingerprint(fails_here(KeyError("three"))) != first
    assert fingerprint(fails_elsewhere(ValueError("three"))) != first
    # Two places in the library, one in our code.
    assert fingerprint(in_a_library("{")) == fingerprint(in_a_library("[1,"))
    assert len(first) == 16


def test_a_letter_says_all_that_an_operator_needs() -> None:
    envelope, error = sound(), raised(ValueError("three is no number"))
    found = told(envelope, error)
    assert found == {
        headers.COUNT: 1,
        headers.ATTEMPT: 3,
        headers.LETTER: found[headers.LETTER],
        headers.REPLAY: f"{REPLAY.replay_id}/{REPLAY.letter_id}",
        headers.ORIGIN_QUEUE: QUEUE,
        headers.SERVICE: "inventory",
        headers.BUILD: build(),
        headers.EXCEPTION_TYPE: "ValueError",
        headers.EXCEPTION_MESSAGE: "three is no number",
        headers.EXCEPTION_STACK: found[headers.EXCEPTION_STACK],
        headers.FINGERPRINT: fingerprint(error),
        headers.MESSAGE_TYPE: "inventory.ReleaseStock.v1",
        headers.TENANT: str(envelope.tenantid),
        headers.SAGA: str(envelope.sagaid),
        headers.TRACEPARENT: "00-1-2-01",
    }
    assert "raise error" in str(found[headers.EXCEPTION_STACK])


def test_what_is_not_known_is_left_out() -> None:
    [nothing] = decode(b"17")
    assert isinstance(nothing, Unreadable)
    found = headers_of(nothing, nothing.error, QUEUE, "inventory", 1, uuid4())
    assert not {headers.TENANT, headers.SAGA, headers.MESSAGE_TYPE, headers.TRACEPARENT, headers.REPLAY} & set(found)


@pytest.mark.parametrize("text", ["x", "\ud800", "\x00", "\N{PILE OF POO}", "a\ud83d\x00é"], ids=["x", "surrogate", "NUL", "poo", "mixed"])
def test_a_megabyte_of_text_is_cut_to_a_kilobyte(text: str) -> None:
    error = raised(ValueError(text * (1_000_000 // len(text))))
    found = told(sound(), error)
    assert 900 <= len(str(found[headers.EXCEPTION_MESSAGE]).encode()) <= 1000
    assert len(str(found[headers.EXCEPTION_STACK]).encode()) <= 8000
    assert on_the_wire(found) <= BYTES_MAX
    assert len(fault_of(error).error) == 300
    assert "\x00" not in fault_of(error).error + json.dumps(found, ensure_ascii=False)
    fault_of(error).model_dump_json()


@given(st.text(ANY, max_size=50), st.text(ANY, max_size=50), st.integers(1, 20_000))
def test_no_envelope_and_no_error_makes_headers_that_the_broker_refuses(said: str, name: str, times: int) -> None:
    kind = type((name.replace("\x00", "") or "X").encode(errors="replace").decode() * min(times, 50), (Exception,), {})
    stranger = Unreadable("{}", ValueError(), type=name * times, traceparent=said * times, subject=said)
    found = told(stranger, raised(kind(said * times)))
    assert on_the_wire(found) <= BYTES_MAX
    json.dumps(found, ensure_ascii=False).encode()


class Speechless(Exception):
    def __str__(self) -> str:
        raise RuntimeError("my text is a bug")


def test_an_error_whose_text_is_a_bug_is_told_all_the_same() -> None:
    error = raised(Speechless())
    assert "failed" in said_by(error)
    assert told(sound(), error)[headers.EXCEPTION_TYPE] == "Speechless"
    assert fault_of(error).error.startswith("Speechless: ")


def test_an_error_of_few_words_says_them() -> None:
    assert said_by(ValueError()) == ""
    assert said_by(ValueError("a: b")) == "a: b"
    assert said_by(KeyError("order")) == "'order'"


def test_an_envelope_of_the_nil_tenant_is_unreadable_and_nobodys() -> None:
    of_nobody = sound().model_copy(update={"tenantid": TenantId(UUID(int=0))})
    [found] = decode(encode([of_nobody.model_dump_json(exclude_none=True)]))
    assert isinstance(found, Unreadable)
    assert (found.tenantid, found.id, type(found.error).__name__) == (None, of_nobody.id, "NilTenant")
