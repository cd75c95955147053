"""An HTTP process: the routes of one or several services, each with its own pools, around one publishing connection."""

import asyncio
import signal
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from datetime import timedelta
from typing import Final

import uvicorn
from fastapi import APIRouter
from faststream.rabbit import RabbitBroker

from infra import clock
from infra.broker import close, connect, open_broker
from infra.build import build
from infra.collecting import settle_down
from infra.http import create_app
from infra.http.health import Check
from infra.http.security import security_check, security_router
from infra.http.verifier import Verifier
from infra.rls.posture import Postures
from infra.runtime import Runtime, open_runtime
from infra.service import Service
from infra.settings import Settings
from infra.stopping import Cut
from infra.topology import topology

_PATIENCE_S: Final = 60.0
_BACKLOG: Final = 512


async def serve(services: Sequence[Service], settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT; open requests are answered and what was committed is published before it ends."""
    build()  # now: later the files may be those of the next release
    async with AsyncExitStack() as stack:
        publisher = open_broker(settings)
        stack.push_async_callback(close, publisher)
        await connect(publisher, settings, patience_s=_PATIENCE_S)
        await topology.prepare(publisher, settings)
        runtimes = {one.name: await stack.enter_async_context(open_runtime(one.name, publisher, settings)) for one in services}
        postures = [Postures(name, runtime.app_pool) for name, runtime in runtimes.items()]
        app = create_app(
            "oaas",
            {name: router for one in services for name, router in _routers(one, runtimes[one.name], settings)}
            | {"security": security_router(postures)},
            verifier=Verifier(settings.jwks, issuer=settings.issuer, audience=settings.audience),
            checks=[
                _broker(publisher),
                *(check for name, runtime in runtimes.items() for check in database_checks(name, runtime, settings)),
                *map(security_check, postures),
            ],
            body_bytes_max=settings.body_bytes_max,
        )
        config = uvicorn.Config(
            app,
            host=settings.api_host,
            port=settings.api_port,
            log_config=None,
            access_log=False,
            backlog=_BACKLOG,
            timeout_graceful_shutdown=int(settings.drain_s),
        )
        server = _Server(config, settings.stop_max_s)
        for runtime in runtimes.values():
            # It never ends by itself; without it nothing sends again what a crash left in the outbox.
            runtime.sweep.add_done_callback(lambda _: server.leave())
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, server.leave)
        settle_down()
        await server.serve()
        # All at once: in an outage each takes the whole bound.
        await asyncio.gather(*(runtime.relay.drain(settings.drain_s) for runtime in runtimes.values()))


class _Server(uvicorn.Server):
    """Leaves signals to us: uvicorn would raise them again at its end, and nothing would be drained or closed."""

    def __init__(self, config: uvicorn.Config, stop_max_s: float) -> None:
        super().__init__(config)
        self._stop_max_s = stop_max_s
        self._cut: Cut | None = None

    def leave(self) -> None:
        """Answer what has been asked, then end; what hangs is cut."""
        self.should_exit = True
        self._cut = self._cut or Cut(self._stop_max_s)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _routers(service: Service, runtime: Runtime, settings: Settings) -> Iterator[tuple[str, APIRouter]]:
    router = service.router(runtime.transaction, settings, runtime.sweeper_pool)
    if router is not None:
        yield service.name, router
    operators = service.operators_router(runtime.transaction, runtime.sweeper_pool, settings)
    if operators is not None:
        yield f"{service.name} operators", operators


def _broker(publisher: RabbitBroker) -> Check:
    async def run() -> str | None:
        return None if await publisher.ping(timeout=1.0) else "RabbitMQ does not answer"

    return Check("broker", run)


def database_checks(name: str, runtime: Runtime, settings: Settings) -> list[Check]:
    """Whether the service's database answers, and whether what it has committed is being published."""

    async def database() -> str | None:
        async with runtime.transaction.batch():
            return None

    async def outbox() -> str | None:
        # What the broker refuses, because one reader's queue is full, does not count: it is sent again and again, and is an alert. Else
        # one reader that is down, be it the desk, would take every process of every API down.
        if runtime.relay.waiting_s() > settings.outbox_age_max_s:
            return f"the broker has neither taken nor refused a message for {runtime.relay.waiting_s():.0f} s"
        due = await runtime.overdue.longest_due()
        if due is None or clock.now() - due < timedelta(seconds=settings.outbox_age_max_s):
            return None
        return f"a message is to be sent again since {due.isoformat(timespec='seconds')}, and nobody does it"

    return [Check(f"{name} database", database), Check(f"{name} outbox", outbox)]
