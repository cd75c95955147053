"""What the coordinator tells about its sagas when the services' books are compared. Mending one is the operators' verbs' business."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from infra.reconcile import Books, Line, Subject
from infra.transaction import Scope
from sagas.consumers import SAGAS
from sagas.engine.instances import UnknownDefinition, held_from
from sagas.engine.outlook import name_of
from sagas.engine.verbs import Verb, why_not

_DEFINITIONS: Final = {(saga.name, saga.version): saga for saga in SAGAS}
_ENDED: Final = "state IN ('COMPLETED', 'ABANDONED')"
# Sagas about other things than orders are nobody's to compare with.
_AN_ORDER: Final = "subject ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$'"
_SUBJECTS: Final = f"""
    SELECT subject::uuid AS order_id, {_ENDED} AS is_at_rest, changed_at FROM sagas.saga
    WHERE tenant_id = $1 AND (changed_at >= $2 OR NOT {_ENDED}) AND {_AN_ORDER}
    ORDER BY {_ENDED}, changed_at DESC LIMIT $3"""  # noqa: S608 - all of it is in this file
_LINES: Final = """
    SELECT id, name, version, subject, state, changed_at, started_by, instance, events FROM sagas.saga
    WHERE tenant_id = $1 AND subject = ANY($2::text[])"""


async def subjects(scope: Scope, since: datetime, most: int) -> list[Subject]:
    return [Subject(*row) for row in await scope.connection.fetch(_SUBJECTS, scope.tenant_id, since, most)]


async def lines(scope: Scope, orders: Sequence[UUID]) -> list[Line]:
    """The book is the saga's name, `was` its version; an open one has the command by which an operator ends it."""
    rows = await scope.connection.fetch(_LINES, scope.tenant_id, [str(order) for order in orders])
    return [
        Line(
            subject=UUID(row["subject"]),
            book=row["name"],
            state=row["state"],
            was=str(row["version"]),
            id=str(row["id"]),
            changed_at=row["changed_at"],
            command="" if row["state"] in ("COMPLETED", "ABANDONED") else _command(scope, row),
        )
        for row in rows
    ]


def _command(scope: Scope, row: Any) -> str:
    """What ends the saga, or brings it nearer to its end."""
    try:
        held = held_from(row, scope.tenant_id, _DEFINITIONS)
    except (UnknownDefinition, ValueError, LookupError):
        return f"oaas why {row['id']}"
    legal = {verb for verb, why in why_not(held.saga, held.instance).items() if why is None}
    if Verb.CANCEL in legal:
        return f"oaas saga cancel {row['id']}"
    if Verb.SKIP in legal:
        return f"oaas saga skip {row['id']} --step '{name_of(held.instance.outstanding[0])}'"
    return f"oaas saga {next((verb.value for verb in (Verb.RETRY, Verb.RESUME) if verb in legal), 'show')} {row['id']}"


BOOKS: Final = Books(kept_in="sagas.saga", subjects=subjects, lines=lines, mends={})
