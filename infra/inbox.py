"""Which messages a service has taken in, and what it answered: the reason why an effect happens exactly once.

A message asked again, with the same id, gets the same answer and has no second effect. The row is written first in the
transaction, before any aggregate is locked, so that a second worker with the same message waits here.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from contracts.values import TenantId
from infra.statements import Statements
from infra.wire import Answer
from infra.writes import Writes


class Key(NamedTuple):
    """Identity of a message to a service: its type names the handler."""

    handler: str
    message_id: UUID


class Inbox:
    """The inbox table of one service's schema."""

    def __init__(self, schema: str) -> None:
        # Sorted, because two workers that insert the same keys in opposite order would deadlock.
        self._insert = f"""
            INSERT INTO {schema}.inbox (tenant_id, handler, message_id, received_at)
            SELECT $1, handler, message_id, $4 FROM unnest($2::text[], $3::uuid[]) AS given (handler, message_id)
            ORDER BY handler, message_id
            ON CONFLICT DO NOTHING RETURNING handler, message_id"""
        self._answers = f"""
            SELECT handler, message_id, answer FROM {schema}.inbox
            JOIN unnest($2::text[], $3::uuid[]) AS given (handler, message_id) USING (handler, message_id)
            WHERE tenant_id = $1"""
        self._remember = f"""
            UPDATE {schema}.inbox AS inbox SET answer = given.answer
            FROM unnest($2::text[], $3::uuid[], $4::text[]) AS given (handler, message_id, answer)
            WHERE inbox.tenant_id = $1 AND inbox.handler = given.handler AND inbox.message_id = given.message_id"""

    def take(self, connection: Statements, tenant_id: TenantId, keys: Sequence[Key], now: datetime) -> Answer:
        """Note that these are taken in. `taken` reads the answer; what is asked meanwhile travels with it, and is done after it."""
        return connection.ask(self._insert, tenant_id, [key.handler for key in keys], [key.message_id for key in keys], now)

    async def taken(
        self, connection: Statements, tenant_id: TenantId, keys: Sequence[Key], asked: Answer
    ) -> tuple[set[Key], dict[Key, str | None]]:
        """The keys seen for the first time, and for each other key the answer it was given (None: it needs none)."""
        noted = await asked
        if noted.ntuples == len(keys):
            return set(keys), {}
        fresh = {Key(*row) for row in connection.rows(noted)}
        columns = [key.handler for key in keys], [key.message_id for key in keys]
        known = await connection.fetch(self._answers, tenant_id, *columns)
        answers = {Key(row["handler"], row["message_id"]): row["answer"] for row in known}
        return fresh, {key: answer for key, answer in answers.items() if key not in fresh}

    async def known(self, connection: Statements, tenant_id: TenantId, keys: Sequence[Key]) -> set[Key]:
        """Those of the keys that were taken in."""
        rows = await connection.fetch(self._answers, tenant_id, [key.handler for key in keys], [key.message_id for key in keys])
        return {Key(row["handler"], row["message_id"]) for row in rows}

    def remember(self, writes: Writes, tenant_id: TenantId, answers: Mapping[Key, str]) -> None:
        """Keep each message's answer beside it, in the transaction that decided it."""
        if answers:
            columns = [key.handler for key in answers], [key.message_id for key in answers], list(answers.values())
            writes.add(self._remember, tenant_id, *columns)
