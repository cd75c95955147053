"""What was answered under an Idempotency-Key: the same key and body get the same answer, another body is refused.

The row is written in the order's own transaction, so an answer is remembered exactly when its order exists. Two requests with
one key at once: the second waits at the primary key until the first has committed, and then finds its answer.
"""

import hashlib
import json
from dataclasses import dataclass

from pydantic import BaseModel
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import col, select

from contracts.values import OrderId
from infra.transaction import Scope
from services.orders.model import IdempotencyRow


class KeyReused(Exception):
    """The Idempotency-Key was used for another request before."""

    def __init__(self, key: str) -> None:
        super().__init__(f"the Idempotency-Key {key} was used for another request before")
        self.key = key


@dataclass(frozen=True, slots=True)
class Claim:
    """A key, and the SHA-256 of the request that came with it."""

    key: str
    fingerprint: str


def claim(key: str | None, body: BaseModel) -> Claim | None:
    """The claim that a request makes; None without a key. Spacing and order of members in the body make no difference."""
    if key is None:
        return None
    canonical = json.dumps(body.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
    return Claim(key, hashlib.sha256(canonical.encode()).hexdigest())


async def remembered(scope: Scope, claim: Claim) -> str | None:
    """The body that the key was answered with; None if it is new. Raises KeyReused."""
    keys = (col(IdempotencyRow.tenant_id) == scope.tenant_id, col(IdempotencyRow.key) == claim.key)
    row = (await scope.session.exec(select(IdempotencyRow).where(*keys))).one_or_none()
    if row is not None and row.fingerprint != claim.fingerprint:
        raise KeyReused(claim.key)
    return None if row is None else row.answer


async def remember(scope: Scope, claim: Claim, order_id: OrderId, answer: str) -> str:
    """Keep the answer, or get the one that a request with the same key was given just before. Raises KeyReused.

    If what comes back is not `answer`, the caller writes nothing: the other request has.
    """
    row = IdempotencyRow(
        tenant_id=scope.tenant_id, key=claim.key, fingerprint=claim.fingerprint, order_id=order_id, answer=answer, created_at=scope.now
    )
    statement = insert(IdempotencyRow).values(**row.model_dump()).on_conflict_do_nothing(index_elements=["tenant_id", "key"])
    if (await scope.session.exec(statement)).rowcount == 1:
        return answer
    return await remembered(scope, claim) or answer
