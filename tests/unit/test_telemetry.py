"""Log lines that a machine can read, and trace contexts that survive the outbox."""

import json
import logging
import sys
from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest

from contracts.messages import Envelope
from contracts.tenants import ReleaseQuota
from contracts.values import OrderId, SagaId, TenantId
from infra.telemetry import JsonLines, step_of_journey, trace_id_of

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
UNSAMPLED = f"00-{TRACE}-00f067aa0ba902b7-00"


def line_of(record: logging.LogRecord) -> dict[str, str]:
    written = JsonLines("inventory").format(record)
    assert "\n" not in written
    read: dict[str, str] = json.loads(written)
    return read


def record(message: str = "parked", **extra: object) -> logging.LogRecord:
    made = logging.LogRecord("infra.parking", logging.ERROR, "", 0, message, None, None)
    made.__dict__.update(extra)
    return made


def test_a_line_is_one_json_object_with_tenant_saga_and_trace() -> None:
    tenant, saga = uuid4(), uuid4()
    line = line_of(record(tenant=tenant, saga=saga, trace=TRACE))
    assert (line["tenant"], line["saga"], line["trace"]) == (str(tenant), str(saga), TRACE)
    assert (line["level"], line["service"], line["message"]) == ("ERROR", "inventory", "parked")
    assert datetime.fromisoformat(line["time"].replace("Z", "+00:00")).tzinfo is not None


def test_a_traceback_stays_inside_its_line() -> None:
    failed = record()
    try:
        raise ValueError("two\nlines")
    except ValueError:
        failed.exc_info = sys.exc_info()
    assert "ValueError: two" in line_of(failed)["stack"]


def test_a_lone_surrogate_does_not_cost_the_line() -> None:
    written = JsonLines("inventory").format(record("parked \ud83d"))
    assert json.loads(written.encode())["message"] == "parked \ud83d"


def envelope(traceparent: str | None) -> Envelope:
    order = OrderId(uuid4())
    return Envelope(
        id=uuid4(),
        source="/sagas",
        type="tenants.ReleaseQuota.v1",
        subject=str(order),
        time=datetime.now(UTC),
        tenantid=TenantId(uuid4()),
        sagaid=SagaId(UUID(int=1)),
        traceparent=traceparent,
        data=ReleaseQuota(order_id=order),
    )


@pytest.mark.parametrize("traceparent", [None, UNSAMPLED])
def test_a_journey_that_is_not_sampled_passes_its_context_on_untouched(traceparent: str | None) -> None:
    with step_of_journey(envelope(traceparent), "tenants") as passed_on:
        assert passed_on == traceparent


def test_a_sampled_journey_keeps_its_trace_id() -> None:
    with step_of_journey(envelope(UNSAMPLED[:-2] + "01"), "tenants") as passed_on:
        assert trace_id_of(passed_on) == TRACE


@pytest.mark.parametrize("traceparent", [None, "", "nonsense", "00-zz-00-01", "00-" + "0" * 32 + "-" + "0" * 16 + "-01", "a-b-c-d"])
def test_a_malformed_context_is_no_context(traceparent: str | None) -> None:
    assert trace_id_of(traceparent) is None
