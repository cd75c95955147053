"""HTTP in for operators: what sagas there are, how one stands, and what can be done to it.

An operator without a tenant sees all tenants' sagas; for one with a tenant there are no others.

What there is in all tenants is found by the search; reading a saga and acting on it happen inside its tenant.
"""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Query
from sqlalchemy.ext.asyncio import AsyncEngine

from contracts.values import SagaId, TenantId
from infra.clock import now
from infra.http import FieldError, Problem
from infra.http.auth import Operator, operator_with
from infra.http.mishaps import field_error
from infra.settings import Settings
from infra.transaction import Transactions
from infra.unscoped.sagas import SagaSearch
from sagas.consumers import coordinator
from sagas.engine.instances import UnknownDefinition
from sagas.engine.verbs import Verb, WrongAnswer
from sagas.looking import look, names_of
from sagas.many import act_on_many, count_first
from sagas.operating import Act, Operating, Outcome, Result
from sagas.ops_views import ActedOnView, ActOnMany, ActOnOne, CountsView, SagaPage, SagaQuery, SagaView, SkipMany, SkipOne, Supplied
from sagas.search import SagaFilter, find_page
from sagas.telling import Telling
from sagas.why import Story

Ops = Annotated[Operator, Depends(operator_with("ops"))]
Asked = Annotated[str, Path(min_length=1, max_length=200, description="an order, a saga, a message or a trace")]
_TITLES: Final = {Result.REFUSED: "Not possible now", Result.MOVED: "Moved on", Result.FAILED: "Not readable"}


def router(transaction: Transactions, sweeper_pool: AsyncEngine, settings: Settings) -> APIRouter:
    """The operators' routes."""
    routes = APIRouter(prefix="/v1/ops", tags=["operators"])
    desk = _Desk(transaction, SagaSearch("sagas", sweeper_pool), settings)
    _reading(routes, desk)
    for verb in Verb:
        one, many = desk.acting_on_one(verb), desk.acting_on_many(verb)
        routes.add_api_route(f"/sagas/{{saga_id}}/{verb}", one, methods=["POST"], name=f"{verb}_saga", summary=f"{verb} one saga")
        routes.add_api_route(f"/sagas/{verb}", many, methods=["POST"], name=f"{verb}_sagas", summary=f"{verb} all that fit a filter")
    return routes


def _reading(routes: APIRouter, desk: "_Desk") -> None:
    @routes.get("/sagas", summary="Sagas")
    async def list_sagas(operator: Ops, query: Annotated[SagaQuery, Query()]) -> SagaPage:
        """What waits for people first, then what is stuck, then the rest; the newest of each first."""
        desk.require_known("", saga=query.saga, step=query.step)
        return SagaPage.of(await find_page(desk.search, _within(operator, query.asked), now(), query.cursor, query.limit))

    @routes.get("/sagas/{saga_id}", summary="One saga as a whole")
    async def show_saga(operator: Ops, saga_id: UUID) -> SagaView:
        """How it stands, its history, who did what, and which verbs are legal now."""
        return await desk.view(operator, SagaId(saga_id))

    @routes.get("/why/{asked}", summary="The whole story of an order, saga, message or trace in plain words")
    async def why(operator: Ops, asked: Asked) -> Story:
        """All sagas about the same order, the oldest first."""
        story = await desk.telling.story(asked, now(), operator.tenant_id)
        if story is None:
            raise Problem(404, "Nothing found", desk.telling.looked_for(asked))
        return story


class _Desk:
    """What the routes share."""

    def __init__(self, transaction: Transactions, search: SagaSearch, settings: Settings) -> None:
        sagas = coordinator(settings)
        self.search = search
        self.telling = Telling(search, transaction, sagas.sagas)
        self._transaction = transaction
        self._definitions = sagas.sagas
        self._names = names_of(sagas.sagas.values())
        self._operating = Operating(transaction, sagas)

    def require_known(self, where: str, **given: str | None) -> None:
        """Raises Problem(422) for the name of a saga or step that no definition has: a filter by it would find nothing, and look right."""
        for field, name in given.items():
            if name is not None and name not in self._names[field]:
                raise _wrong(f"{where}{field}", f"must be one of {', '.join(self._names[field])}")

    async def tenant_of(self, operator: Operator, saga_id: SagaId) -> TenantId:
        tenant_id = await self.search.tenant_of(saga_id)
        if tenant_id is None or not operator.may_see(tenant_id):
            elsewhere = f"if it is an order, message or trace, `oaas why {saga_id}` (GET /v1/ops/why/{saga_id}) finds its sagas"
            raise Problem(404, "Unknown saga", f"there is no saga {saga_id} in any tenant; {elsewhere}")
        return tenant_id

    async def view(self, operator: Operator, saga_id: SagaId) -> SagaView:
        [looked] = await look(self._transaction, self._definitions, await self.tenant_of(operator, saga_id), ids=[saga_id])
        return SagaView.whole(looked, now())

    def acting_on_one(self, verb: Verb) -> Callable[..., Awaitable[SagaView]]:
        async def act(saga_id: UUID, operator: Ops, body: Any) -> SagaView:
            tenant_id = await self.tenant_of(operator, SagaId(saga_id))
            [outcome] = await self._operating.act(tenant_id, {SagaId(saga_id): body.revision}, _act(verb, operator, body))
            if outcome.result is not Result.DONE:
                raise _problem(outcome)
            return await self.view(operator, SagaId(saga_id))

        act.__annotations__["body"] = SkipOne if verb is Verb.SKIP else ActOnOne
        return act

    def acting_on_many(self, verb: Verb) -> Callable[..., Awaitable[CountsView | ActedOnView]]:
        async def act(operator: Ops, body: Any) -> CountsView | ActedOnView:
            at = now()
            _require_a_filter(body)
            self.require_known("filter.", saga=body.filter.saga, step=body.filter.step)
            if isinstance(body, Supplied):
                self.require_known("", step=body.step)
            wanted = _within(operator, body.filter)
            if body.dry_run:
                return CountsView.of(await count_first(self.search, wanted, at))
            if body.as_of is None or body.as_of > at:
                raise _wrong("as_of", "must be the time that a dry run with the same filter answered")
            doing = _act(verb, operator, body)
            return ActedOnView.of(await act_on_many(self.search, self._operating, wanted, body.as_of, body.after, doing))

        act.__annotations__["body"] = SkipMany if verb is Verb.SKIP else ActOnMany
        return act


def _within(operator: Operator, asked: SagaFilter) -> SagaFilter:
    """The filter, bounded to the operator's tenant."""
    return asked.model_copy(update={"tenant": operator.tenant_for(asked.tenant)})


def _act(verb: Verb, operator: Operator, body: ActOnOne | ActOnMany) -> Act:
    step, answer = (body.step, body.answer) if isinstance(body, Supplied) else (None, None)
    return Act(verb, operator.subject, body.reason, step, answer)


def _require_a_filter(body: ActOnMany) -> None:
    if body.filter.says_nothing:
        raise _wrong("filter", "must say at least one thing: a verb on every saga there is would be a mistake")
    if body.filter.state is not None and body.filter.state.is_final:
        raise _wrong("filter.state", "must be a state that is not final: what has ended takes no verb")


def _wrong(field: str, message: str) -> Problem:
    return Problem(422, "Not valid", f"Wrong: {field}", errors=[FieldError(field=field, message=message)])


def _problem(outcome: Outcome) -> Problem:
    if isinstance(outcome.error, WrongAnswer):
        found = outcome.error.error.errors()
        errors = [field_error({**one, "loc": ("body", "answer", *one["loc"])}) for one in found]
        return Problem(422, "Not valid", outcome.detail, errors=errors)
    if (
        outcome.result is Result.FAILED
        and outcome.error is not None
        and not isinstance(outcome.error, UnknownDefinition | ValueError | LookupError)
    ):
        raise outcome.error
    return Problem(409, _TITLES[outcome.result], outcome.detail)
