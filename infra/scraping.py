"""A worker's metrics over HTTP, for whoever collects them: the counters of a process live in that process."""

from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import start_http_server

from infra.errors import Misconfigured
from infra.settings import Settings


@contextmanager
def scraped(settings: Settings) -> Iterator[None]:
    """Serve `/metrics` on OAAS_METRICS_PORT meanwhile, on a thread; nothing without a port. Raises Misconfigured if it is taken."""
    if not settings.metrics_port:
        yield
        return
    try:
        server, thread = start_http_server(settings.metrics_port, settings.metrics_host)
    except OSError as error:
        raise Misconfigured(f"OAAS_METRICS_PORT {settings.metrics_port} cannot be listened on: {error.strerror}") from error
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
