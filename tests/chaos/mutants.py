"""Ways to break the platform's promises, for seeing that the suite notices: `python -m tests.chaos --mutant NAME`."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from typing import Any, Final
from uuid import uuid4

import asyncpg
from aio_pika.exceptions import AMQPError

from contracts.values import TenantId
from infra.consumer import Consumer
from infra.deliveries import Delivery
from infra.inbox import Inbox, Key
from infra.outbox import Outbox
from services.payments.http_provider import HttpProvider
from services.payments.provider import Call, Outcome

VARIABLE: Final = "OAAS_CHAOS_MUTANT"


class _Settled:
    """A message that was acked already."""

    async def ack(self) -> None:
        """Nothing is left to do."""


def _ack_before_commit() -> None:
    """What was delivered is acked before its effect is committed: who dies in between loses it."""
    settle = Consumer._settle

    async def hasty(consumer: Consumer, deliveries: Sequence[Delivery]) -> None:
        for delivery in deliveries:
            with suppress(AMQPError, OSError, RuntimeError):
                await delivery.message.ack()
        await settle(consumer, [replace(delivery, message=_Settled()) for delivery in deliveries])

    Consumer._settle = hasty  # type: ignore[method-assign, assignment]  # that is what a mutant is


def _forgetful_inbox() -> None:
    """Every message is new: what comes twice takes effect twice."""

    async def take(
        _inbox: Inbox, _connection: asyncpg.Connection, _tenant_id: TenantId, keys: Sequence[Key], _now: datetime, *_: Any
    ) -> tuple[set[Key], dict[Key, str | None]]:
        return set(keys), {}

    Inbox.take = take  # type: ignore[method-assign, assignment]  # that is what a mutant is


def _no_outbox() -> None:
    """What was committed is published from memory only: who dies in between has told nobody."""

    def add_to(_outbox: Outbox, *_: Any) -> None:
        """Nothing is written."""

    Outbox.add_to = add_to  # type: ignore[method-assign, assignment]  # that is what a mutant is


def _fresh_card_keys() -> None:
    """Each call to the payment provider has a key of its own: one that is made again charges again."""
    call_it = HttpProvider.call

    async def call(provider: HttpProvider, call: Call, metadata: dict[str, str]) -> Outcome:
        return await call_it(provider, replace(call, key=uuid4().hex), metadata)

    HttpProvider.call = call  # type: ignore[method-assign, assignment]  # that is what a mutant is


MUTANTS: Final[Mapping[str, Callable[[], None]]] = {
    "ack-before-commit": _ack_before_commit,
    "forgetful-inbox": _forgetful_inbox,
    "no-outbox": _no_outbox,
    "fresh-card-keys": _fresh_card_keys,
}
