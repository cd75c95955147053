"""Payments with all that is outside of them real: a worker process, PostgreSQL, RabbitMQ, and the acquirer in a process of its own."""

import asyncio
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from uuid import UUID, uuid4

import httpx

from contracts.addresses import Address
from contracts.catalog import class_of, name_of
from contracts.messages import Command, Envelope, Reply, StepFaulted
from contracts.payments import AuthorisePayment, CapturePayment, PaymentAuthorised, PaymentCaptured, ReturnPayment
from contracts.values import OrderId, SagaId, TenantId
from infra import clock
from infra.dev.ports import LOOPBACK, free_port
from infra.dev.processes import Supervisor
from infra.settings import Settings
from infra.token import ensure_development_key
from services.payments.model import payment_id_of
from tests.integration.messaging import REPLIES, Stage, items, until

AMOUNT: Final = 1_250
WORKER: Final = "payments"
ACQUIRER: Final = "acquirer"
API: Final = "api"
COMMANDS: Final = Address("sagas.commands", "payments.commands.0")
QUICK: Final = {
    "OAAS_PAYMENT_TIMEOUT_S": "0.5",
    "OAAS_PAYMENT_LEASE_S": "1.2",
    "OAAS_PAYMENT_BACKOFF_S": "0.05",
    "OAAS_PAYMENT_BACKOFF_MAX_S": "0.4",
    "OAAS_PAYMENT_REFUSED_BACKOFF_MAX_S": "0.4",
    "OAAS_RESEND_AFTER_S": "0.5",
    "OAAS_CRASH_AT": "",
}
"""What takes seconds takes tenths of them."""
READY_S: Final = 30.0


def a_command(tenant_id: TenantId, message: Command[Any]) -> Envelope:
    """The command as a saga sends it: its subject is the order."""
    return Envelope(
        id=uuid4(),
        source="/sagas",
        type=name_of(type(message)),
        subject=str(message.order_id),  # type: ignore[attr-defined]  # every command of payments is about an order
        time=clock.now(),
        tenantid=tenant_id,
        sagaid=SagaId(uuid4()),
        data=message,
    )


@dataclass
class Till:
    """One tenant's payments."""

    stage: Stage
    supervisor: Supervisor
    environment: Mapping[str, str]
    running: dict[str, dict[str, str]]
    """With which settings each worker was last started."""
    tenant_id: TenantId = field(default_factory=lambda: TenantId(uuid4()))
    answers: dict[UUID, list[dict[str, Any]]] = field(default_factory=dict)
    faults: dict[UUID, list[StepFaulted]] = field(default_factory=dict)
    """What was told about commands that still wait for their answer."""

    @property
    def acquirer(self) -> str:
        return self.environment["OAAS_PAYMENT_URL"]

    async def run(self, name: str = WORKER, **overrides: str) -> None:
        """Have the worker run with these settings; in a new process, if it must."""
        if self.running.get(name) != overrides or self.supervisor.pid(name) is None:
            await asyncio.to_thread(self._run, name, overrides)
            await asyncio.to_thread(self.supervisor.wait_until_ready, name, READY_S)

    async def run_until_dead(self, point: str, name: str = WORKER) -> None:
        """Have the worker run, with work waiting for it, until it has died at this point; maybe before it is ready."""
        await asyncio.to_thread(self._run, name, {"OAAS_CRASH_AT": f"{WORKER}:{point}"})
        pid = self.supervisor.pid(name)

        async def is_gone() -> bool:
            return self.supervisor.pid(name) != pid or self.supervisor.restarts(name) > 0

        await until(is_gone, lambda: f"{name} ({pid}) has not died at {point}: {self.supervisor.log_tail(name)}")
        await self.die(name)

    def _run(self, name: str, overrides: Mapping[str, str]) -> None:
        with suppress(KeyError):  # the first time there is none
            # Killed: what a clean end leaves behind is what others test, and it would take longer.
            self.supervisor.kill(name)
        self.supervisor.add(name, [sys.executable, "-m", "infra.cli", "worker", "payments"], {**self.environment, **overrides})
        self.running[name] = dict(overrides)

    async def serve(self) -> None:
        """Have payments answer HTTP; once is enough."""
        self.supervisor.add(API, [sys.executable, "-m", "infra.cli", "api", "payments"], self.environment)
        async with httpx.AsyncClient(base_url=f"http://{LOOPBACK}:{self.environment['OAAS_API_PORT']}", trust_env=False) as client:

            async def is_ready() -> bool:
                with suppress(httpx.TransportError):
                    return (await client.get("/health/ready")).is_success
                return False

            await until(is_ready, lambda: f"the API is not ready: {self.supervisor.log_tail(API)}")

    async def die(self, name: str = WORKER) -> None:
        """SIGKILL, and it stays down."""
        await asyncio.to_thread(self.supervisor.kill, name)

    async def rise(self, name: str = ACQUIRER) -> None:
        await asyncio.to_thread(self.supervisor.start, name)
        await asyncio.to_thread(self.supervisor.wait_until_ready, name, READY_S)

    async def ask(self, *messages: Command[Any]) -> list[Envelope]:
        """Send these commands, in one frame."""
        envelopes = [a_command(self.tenant_id, message) for message in messages]
        await self.stage.publish(COMMANDS, *envelopes)
        return envelopes

    async def answer(self, command: Envelope) -> Reply:
        """The answer, waited for; it came once, or always the same."""
        await until(lambda: self.is_answered(command), lambda: f"{command.type} has no answer; answered are {self.answers}")
        given = self.answers[command.id]
        assert all(one == given[0] for one in given), given
        reply = class_of(given[0]["type"]).received(given[0]["data"])
        assert isinstance(reply, Reply)
        return reply

    async def is_answered(self, command: Envelope) -> bool:
        queue = await self.stage.client.get_queue(REPLIES, ensure=False)
        while (message := await queue.get(no_ack=True, fail=False)) is not None:
            for one in items([message]):
                command_id = UUID(one["commandid"])
                if one["type"] == name_of(StepFaulted):
                    self.faults.setdefault(command_id, []).append(StepFaulted.received(one["data"]))
                else:
                    self.answers.setdefault(command_id, []).append(one)
        return command.id in self.answers

    async def tell(self, message: Command[Any]) -> Reply:
        """Ask, and wait for the answer."""
        [command] = await self.ask(message)
        return await self.answer(command)

    async def authorised(self, token: str = "tok_ok") -> OrderId:
        """A new order with its amount held."""
        order_id = OrderId(uuid4())
        reply = await self.tell(AuthorisePayment(order_id=order_id, amount=AMOUNT, token=token))
        assert isinstance(reply, PaymentAuthorised)
        return order_id

    async def captured(self, token: str = "tok_ok") -> OrderId:
        """A new order with its amount taken."""
        order_id = await self.authorised(token)
        assert isinstance(await self.tell(CapturePayment(order_id=order_id)), PaymentCaptured)
        return order_id

    async def returned(self, order_id: OrderId) -> Reply:
        return await self.tell(ReturnPayment(order_id=order_id))

    async def books(self, order_id: OrderId) -> list[dict[str, Any]]:
        """What the acquirer has of the order's payment; one entry, or it was authorised twice."""
        query = {"payment": str(payment_id_of(self.tenant_id, order_id))}
        async with httpx.AsyncClient(base_url=self.acquirer, timeout=10, trust_env=False) as client:
            found: list[dict[str, Any]] = (await client.get("/ledger", params=query)).json()["payments"]
        return found

    async def violations(self) -> list[str]:
        async with httpx.AsyncClient(base_url=self.acquirer, timeout=10, trust_env=False) as client:
            found: list[str] = (await client.get("/ledger")).json()["violations"]
        return found

    async def fault(self, command: Envelope) -> StepFaulted:
        """The word of trouble about the command, waited for."""

        async def is_faulted() -> bool:
            await self.is_answered(command)
            return command.id in self.faults

        await until(is_faulted, lambda: f"nobody says what is wrong with {command.type}")
        return self.faults[command.id][0]

    async def counts(self, order_id: OrderId) -> tuple[int, int, int, int]:
        """How often the acquirer has authorised, captured, voided and refunded; nothing if it has never heard of it."""
        books = await self.books(order_id)
        assert len(books) <= 1, f"authorised under two keys: {books}"
        return tuple(books[0][kind] for kind in ("authorised", "captured", "voided", "refunded")) if books else (0, 0, 0, 0)

    async def money(self, order_id: OrderId) -> tuple[int, int]:
        """Pence that the acquirer holds and has taken."""
        books = await self.books(order_id)
        return sum(one["held_pence"] for one in books), sum(one["taken_pence"] for one in books)


def an_environment(settings: Settings, home: Path) -> dict[str, str]:
    """Of the worker, the acquirer and the API."""
    port, api_port = free_port(), free_port()
    return {
        **QUICK,
        "PYTHONPATH": str(Path(__file__).resolve().parents[2]),
        "PATH": os.environ["PATH"],
        "OAAS_HOME": str(home),
        "OAAS_POSTGRES_URL": settings.postgres_url,
        "OAAS_RABBITMQ_URL": settings.rabbitmq_url,
        "OAAS_RABBITMQ_MANAGEMENT_URL": settings.rabbitmq_management_url,
        "OAAS_ROLE_SECRET": settings.role_secret.get_secret_value(),
        "OAAS_JWKS": str(ensure_development_key(home)),
        "OAAS_PAYMENT_URL": f"http://{LOOPBACK}:{port}",
        "OAAS_PAYMENT_SECRET": "the acquirer's",
        "OAAS_API_PORT": str(api_port),
    }


def start_acquirer(supervisor: Supervisor, environment: Mapping[str, str], home: Path) -> None:
    port = environment["OAAS_PAYMENT_URL"].rpartition(":")[2]
    callbacks = f"http://{LOOPBACK}:{environment['OAAS_API_PORT']}/v1/payments/callbacks"
    command = [sys.executable, "-m", "infra.dev.acquirer", LOOPBACK, port, str(home / "acquirer.sqlite"), callbacks]
    supervisor.add(ACQUIRER, command, environment)
    supervisor.wait_until_ready(ACQUIRER, READY_S)
