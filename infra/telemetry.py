"""Traces and logs. One journey keeps one trace id from the HTTP request to the last reply.

The trace context travels in each envelope's `traceparent` (W3C), so it survives the outbox and a crash. Only sampled journeys
get spans; the others carry their context along at no cost. Log lines are JSON with tenant, saga and trace id where they are known.
"""

import json
import logging
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Final

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from pydantic_settings import BaseSettings

from contracts.messages import Envelope
from infra.settings import Settings

_FIELDS: Final = ("tenant", "saga", "trace", "message_id", "queue", "error", "fingerprint", "attempt", "count")
_PROPAGATOR: Final = TraceContextTextMapPropagator()
_TRACEPARENT: Final = re.compile(r"(?!ff)[0-9a-f]{2}-(?P<trace>[0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_NO_TRACE: Final = "0" * 32
_SAMPLED: Final = frozenset("13579bdf")
_tracer: Final = trace.get_tracer("oaas")


class _Exporter(BaseSettings):
    """OpenTelemetry's own environment variable decides whether spans leave the process."""

    otel_exporter_otlp_endpoint: str = ""


class JsonLines(logging.Formatter):
    """One JSON object a line: time, level, service, logger, message, and what `extra=` adds of the known fields."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname,
            "service": self._service,
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {name: str(record.__dict__[name]) for name in _FIELDS if record.__dict__.get(name) is not None}
        if "trace" not in line and (context := trace.get_current_span().get_span_context()).is_valid:
            line["trace"] = f"{context.trace_id:032x}"
        if record.exc_info:
            line["stack"] = self.formatException(record.exc_info)[-8000:]
        # A lone surrogate, quoted from a bad message, would cost the whole line.
        return json.dumps(line, ensure_ascii=False).encode(errors="backslashreplace").decode()


def configure(service: str, settings: Settings) -> None:
    """Logs to stdout and, if OTEL_EXPORTER_OTLP_ENDPOINT is set, spans to that collector."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonLines(service))
    logging.basicConfig(handlers=[handler], level=settings.log_level, force=True)
    for silent in ("aio_pika", "aiormq"):
        # They report a lost connection twice a second for as long as it lasts; infra/broker.py does it once.
        logging.getLogger(silent).setLevel(logging.CRITICAL)
    for noisy in ("httpx", "httpcore", "uvicorn.access", "alembic"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    provider = TracerProvider(
        resource=Resource.create({SERVICE_NAME: f"oaas-{service}"}), sampler=ParentBased(TraceIdRatioBased(settings.trace_ratio))
    )
    if _Exporter().otel_exporter_otlp_endpoint:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)


def current_traceparent() -> str | None:
    """The running span's context as a W3C traceparent; None outside any journey."""
    context = trace.get_current_span().get_span_context()
    return _written(context) if context.is_valid else None


def trace_id_of(traceparent: str | None) -> str | None:
    """The 32 hexadecimal digits that name the journey; None if there is none or it is malformed."""
    found = _TRACEPARENT.fullmatch(traceparent) if traceparent else None
    return found["trace"] if found and found["trace"] != _NO_TRACE else None


@contextmanager
def step_of_journey(envelope: Envelope, service: str) -> Iterator[str | None]:
    """A span around the handling of one envelope, if its journey is sampled; yields the traceparent to pass on."""
    # Nearly all are not, and say so with their last digit: they are not parsed.
    parent = _read(envelope.traceparent) if envelope.traceparent and envelope.traceparent[-1] in _SAMPLED else None
    if parent is None or not parent.trace_flags.sampled:
        yield envelope.traceparent
        return
    attributes = {
        "messaging.system": "rabbitmq",
        "messaging.message.id": str(envelope.id),
        "oaas.tenant": str(envelope.tenantid),
        "oaas.saga": str(envelope.sagaid or ""),
    }
    context = trace.set_span_in_context(NonRecordingSpan(parent))
    with _tracer.start_as_current_span(f"{service} {envelope.type}", context=context, kind=SpanKind.CONSUMER, attributes=attributes):
        yield current_traceparent()


def _written(context: SpanContext) -> str:
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}"


def _read(traceparent: str | None) -> SpanContext | None:
    if traceparent is None:
        return None
    context = trace.get_current_span(_PROPAGATOR.extract({"traceparent": traceparent}, Context())).get_span_context()
    return context if context.is_valid else None
