"""HTTP in for operators who edit letters: one, or many as NDJSON; and who read what was done. No decisions."""

from typing import Annotated, Final
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import StreamingResponse
from sqlalchemy.ext.asyncio import AsyncEngine

from contracts.values import TenantId
from infra.http import FieldError, Problem
from infra.http.auth import Operator, operator_with
from infra.settings import Settings
from infra.transaction import Transactions
from infra.unscoped.letters import LetterSearch
from services.ops.desk.audit_api import add_audit
from services.ops.desk.auditing import Entry, Outcome, record
from services.ops.desk.model import NOBODY
from services.ops.desk.reading_api import look, unknown
from services.ops.desk.searching import LetterFilter
from services.ops.mend import archive_api
from services.ops.mend.exchange import LINES_MAX, export, take_in
from services.ops.mend.mend_views import ChangeView, Edit, EditedView, ImportedView, ImportQuery
from services.ops.mend.revisions import By, NotEdited, Revised, Revising, Wanted, Why

Ops = Annotated[Operator, Depends(operator_with("ops"))]
NDJSON: Final = "application/x-ndjson"
_RETRY_AFTER_S: Final = "5"
_TITLES: Final = {
    Why.MOVED: "Moved on",
    Why.BUSY: "Not possible now",
    Why.ANSWERED: "Answered already",
    Why.UNREADABLE: "Not editable",
}


def routes(transaction: Transactions, sweeper_pool: AsyncEngine, settings: Settings) -> APIRouter:
    """Edit, export, import, archive, restore, purge, audit. To be included before any of the form `/dead-letters/{id}`."""
    own = APIRouter(prefix="/v1/ops/dead-letters", tags=["dead letters"])
    search = LetterSearch(sweeper_pool)
    add_audit(own, transaction, sweeper_pool)
    _exchanging(own, transaction, search, settings)
    archive_api.add_archive(own, transaction, search, settings)

    @own.put("/{letter_id}/payload", summary="Edit what a letter says")
    async def edit(operator: Ops, letter_id: UUID, body: Edit) -> EditedView:
        """Only its data, only within its contract, and only if nobody has answered it. The message keeps its id; what died is kept."""
        tenant_id = await search.tenant_of(letter_id, operator.tenant_id)
        if tenant_id is None:
            raise unknown(letter_id)
        revising, wanted = Revising(transaction, settings), {letter_id: Wanted(body.data, body.revision)}
        by = By(operator.subject, body.reason)
        results = await (revising.preview(tenant_id, wanted) if body.dry_run else revising.edit(tenant_id, wanted, by))
        result = results[letter_id]
        if isinstance(result, NotEdited):
            raise _problem(letter_id, result)
        return await _view(transaction, tenant_id, letter_id, settings, result)

    return own


def _exchanging(own: APIRouter, transaction: Transactions, search: LetterSearch, settings: Settings) -> None:
    @own.get("/export", summary="Letters that can be edited, one JSON line each", response_class=StreamingResponse)
    async def export_letters(operator: Ops, query: Annotated[LetterFilter, Query()]) -> StreamingResponse:
        """Those that fit, in pieces as they are read. Secrets are hidden; sent back like that they stay what they are."""
        wanted = await query.wanted(operator, search)
        async with transaction(wanted.tenant_id or NOBODY) as scope:
            said = query.model_dump_json(exclude_none=True)
            await record(scope, [Entry(actor=operator.subject, verb="export", reason="", outcome=Outcome.DONE, filter=said)])
        return StreamingResponse(export(transaction, search, wanted), media_type=NDJSON)

    @own.post("/import", summary="Edit many letters by the lines of an export")
    async def import_letters(request: Request, operator: Ops, query: Annotated[ImportQuery, Query()]) -> ImportedView:
        """Each line is taken or refused by itself; sent again it changes nothing. `line` is the number of the body's first line."""
        if request.headers.get("content-type", "").split(";")[0].strip().lower() != NDJSON:
            raise Problem(415, "Not NDJSON", f"Send one JSON object per line, with the header Content-Type: {NDJSON}")
        lines = (await request.body()).decode(errors="replace").split("\n")
        if len(lines) > LINES_MAX + 1:
            raise _too_many()
        by = None if query.dry_run else By(operator.subject, query.reason)
        return ImportedView.of(await take_in(search, Revising(transaction, settings), operator.tenant_id, lines, query.line, by))


async def _view(transaction: Transactions, tenant_id: TenantId, letter_id: UUID, settings: Settings, result: Revised) -> EditedView:
    whole = await look(transaction, tenant_id, letter_id, settings)
    return EditedView(**whole.model_dump(), diff=[ChangeView.of(change) for change in result.diff])


def _problem(letter_id: UUID, refused: NotEdited) -> Problem:
    match refused.why:
        case Why.UNKNOWN:
            return unknown(letter_id)
        case Why.WRONG:
            return Problem(422, "Not valid", str(refused), errors=refused.error.errors if refused.error else ())
        case Why.UNHEARD:
            return Problem(503, "Not known", str(refused), headers={"Retry-After": _RETRY_AFTER_S})
    return Problem(409, _TITLES[refused.why], f"letter {letter_id}: {refused}")


def _too_many() -> Problem:
    message = f"has more than {LINES_MAX} lines: send it in parts, each with the number of its first line as `line`"
    return Problem(422, "Not valid", "Too many lines", errors=[FieldError(field="body", message=message)])
