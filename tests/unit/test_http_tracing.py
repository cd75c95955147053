"""A request is a span of the journey that its client names, or begins one; nothing is collected for what is not sampled."""

import httpx
import pytest
from fastapi import FastAPI
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import TraceFlags

from infra.http.tracing import Traced
from infra.telemetry import current_traceparent

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


class Stage:
    """An application whose spans are seen."""

    def __init__(self, ratio: float) -> None:
        self.exporter = InMemorySpanExporter()
        provider = TracerProvider(sampler=ParentBased(TraceIdRatioBased(ratio)))
        provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        app = FastAPI(telemetry={"tracing": False})

        @app.get("/orders/{order}")
        async def seen(order: str) -> str | None:
            if order == "broken":
                raise RuntimeError("broken")
            return current_traceparent()

        @app.get("/health/live")
        async def live() -> str | None:
            return current_traceparent()

        app.add_middleware(Traced, tracer=provider.get_tracer("test"))
        self._app = app

    async def get(self, path: str, **headers: str) -> str | None:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(self._app), base_url="http://test") as client:
            seen: str | None = (await client.get(path, headers=headers)).json()
            return seen

    @property
    def span(self) -> ReadableSpan:
        (span,) = self.exporter.get_finished_spans()
        return span


def is_sampled(traceparent: str | None) -> bool:
    return traceparent is not None and bool(int(traceparent[-2:], 16) & TraceFlags.SAMPLED)


async def test_a_sampled_request_is_a_span_named_by_its_route() -> None:
    stage = Stage(1)
    seen = await stage.get("/orders/7")
    assert stage.span.context is not None
    assert (seen or "")[:-3] == f"00-{stage.span.context.trace_id:032x}-{stage.span.context.span_id:016x}"
    assert is_sampled(seen)
    assert stage.span.name == "GET /orders/{order}"
    assert dict(stage.span.attributes or {}) == {
        "http.request.method": "GET",
        "url.path": "/orders/7",
        "http.response.status_code": 200,
        "http.route": "/orders/{order}",
    }


async def test_the_clients_journey_goes_on_whatever_the_ratio() -> None:
    stage = Stage(0)
    seen = await stage.get("/orders/7", traceparent=f"00-{TRACE}-00f067aa0ba902b7-01")
    assert (seen or "").startswith(f"00-{TRACE}-")
    assert is_sampled(seen)
    assert stage.span.parent is not None
    assert stage.span.parent.span_id == 0x00F067AA0BA902B7


async def test_a_request_that_is_not_sampled_has_a_journey_and_no_span() -> None:
    stage = Stage(0)
    first, second = await stage.get("/orders/7") or "", await stage.get("/orders/7") or ""
    assert (is_sampled(first), is_sampled(second), first == second) == (False, False, False)
    assert stage.exporter.get_finished_spans() == ()


@pytest.mark.parametrize("nonsense", ["", "00-0-0-01", "x" * 1000])
async def test_a_malformed_traceparent_begins_a_journey_of_its_own(nonsense: str) -> None:
    assert len(await Stage(1).get("/orders/7", traceparent=nonsense) or "") == 55


async def test_asking_how_the_process_is_begins_no_journey() -> None:
    stage = Stage(1)
    assert await stage.get("/health/live") is None
    assert stage.exporter.get_finished_spans() == ()


async def test_what_breaks_is_in_the_span() -> None:
    stage = Stage(1)
    with pytest.raises(RuntimeError):
        await stage.get("/orders/broken")
    assert stage.span.status.status_code.name == "ERROR"
    assert [event.name for event in stage.span.events] == ["exception"]
