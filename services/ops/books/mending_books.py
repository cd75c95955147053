"""Mends or accepts what is wrong with a tenant's books: looked at once more, done by its owner in its own transaction, recorded."""

from collections.abc import Coroutine
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from contracts.values import TenantId
from infra.consumer import attempted
from infra.reconcile import Case, Keepers, NothingToMend
from infra.retry import Ending, ending_of
from infra.settings import Settings
from infra.transaction import Transactions
from services.ops.books import findings
from services.ops.books.comparing import Comparing
from services.ops.books.consequences import Consequence
from services.ops.books.findings import Part
from services.ops.books.kinds import MENDS, TOTALS, Kind
from services.ops.books.reconciling import Finding
from services.ops.desk import auditing
from services.ops.desk.auditing import Entry, Outcome


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What an operator wants mended or accepted, and why."""

    tenant_id: TenantId
    kind: Kind
    key: str
    actor: str
    reason: str
    confirm: Consequence | None = None
    """What whoever asks knows that it does."""


class NotMended(Exception):
    """It was not done; the message says why and, if there is, what to type instead."""


class NotConfirmed(NotMended):
    """It would do what a customer notices, and whoever asked for it has not said that they know."""

    def __init__(self, found: Finding) -> None:
        super().__init__(f'{found.mending}. If that is wanted, say so: "confirm": "{found.confirm}"')


class Mending:
    """Acts on one finding at a time."""

    def __init__(self, keepers: Keepers, transaction: Transactions, settings: Settings) -> None:
        """`transaction` is the desk's own."""
        self._keepers = keepers
        self._transaction = transaction
        self._comparing = Comparing(keepers, transaction, settings)

    async def mend(self, asked: Asked, now: datetime) -> str:
        """Do it and say what was done; raises NotMended, after which nothing has changed but the audit."""
        return await self._recorded("mend", asked, self._mend(asked, now))

    async def foresee(self, asked: Asked, now: datetime) -> Finding:
        """What mending it would do, without doing it; raises NotMended if it could not be done. Nothing is recorded."""
        _, found = await self._mendable(asked, now)
        return found

    async def accept(self, asked: Asked, now: datetime) -> str:
        """Note that it stays as it is; raises NotMended."""
        return await self._recorded("accept", asked, self._accept(asked, now))

    async def _mend(self, asked: Asked, now: datetime) -> str:
        case, found = await self._mendable(asked, now)
        # Looked at just now: what it does may be something else than what was listed.
        if found.confirm is not None and asked.confirm is not found.confirm:
            raise NotConfirmed(found)
        mend = MENDS[asked.kind]
        keeper = self._keepers[mend.service]
        done = ""

        async def in_its_own_transaction() -> None:
            nonlocal done
            async with keeper.transaction(asked.tenant_id) as scope:
                done = await keeper.books.mends[mend.name](scope, case)

        error = await attempted(in_its_own_transaction())
        if error is not None:
            # What its owner cannot do is not our bug: the books are wrong already, so its use cases may rightly refuse.
            raise error if ending_of(error) is not Ending.BUG else NotMended(_told(error)) from error
        async with self._transaction(asked.tenant_id) as scope:
            await findings.mended(scope, found.id)
        return done

    async def _mendable(self, asked: Asked, now: datetime) -> tuple[Case, Finding]:
        case, found = await self._found(asked, now)
        if asked.kind not in MENDS or not found.is_mendable:
            raise NotMended(f"{found.what}: type {found.command}")
        await self._require_totals(asked)
        return case, found

    async def _require_totals(self, asked: Asked) -> None:
        """What an order gives back is taken off the totals: while those are wrong, its owner would refuse, and its saga would park."""
        if asked.kind in TOTALS:
            return
        wrong = [one for one in await self._comparing.totals(asked.tenant_id) if one.is_mendable]
        if wrong:
            raise NotMended(f"the tenant's totals do not add up, so mend them first: {'; '.join(one.command for one in wrong[:3])}")

    async def _accept(self, asked: Asked, now: datetime) -> str:
        _, found = await self._found(asked, now)
        if asked.kind in TOTALS and found.is_mendable:
            # Nothing else could be mended as long as it is wrong.
            raise NotMended(f"{found.what}: everything else goes by it, so it is to be mended: type {found.command}")
        async with self._transaction(asked.tenant_id) as scope:
            # Nothing is said of what else is wrong with it.
            await findings.keep(scope, [found], Part.of(asked.key), [asked.key])
            await findings.accept(scope, found.id, asked.actor)
        return f"{asked.kind} of {asked.key} is accepted as it is: {found.what}"

    async def _found(self, asked: Asked, now: datetime) -> tuple[Case, Finding]:
        async with self._transaction(asked.tenant_id) as scope:
            known = [one for one in await findings.open_in(scope, Part.of(asked.key)) if one.kind is asked.kind]
        # What was found at rest may be mended although it has moved since: of several things wrong with an order each mend moves it.
        compared = await self._comparing.compare(asked.tenant_id, now, asked.key, in_motion=bool(known))
        found = next((one for one in compared.findings if one.kind is asked.kind), None)
        if found is None:
            raise NotMended(
                f"there is no {asked.kind} of {asked.key} now, or it has moved a moment ago: `oaas reconcile` says what there is"
            )
        return Case(key=asked.key, lines=compared.lines.get(asked.key, ()), reason=asked.reason), found

    async def _recorded(self, verb: str, asked: Asked, work: Coroutine[Any, Any, str]) -> str:
        what = f"{asked.kind} {asked.key}"
        try:
            done = await work
        except NotMended as refused:
            await self._record(verb, asked, Outcome.REFUSED, f"{what}: {refused}")
            raise
        await self._record(verb, asked, Outcome.DONE, f"{what}: {done}")
        return done

    async def _record(self, verb: str, asked: Asked, outcome: Outcome, detail: str) -> None:
        entry = Entry(actor=asked.actor, verb=f"reconcile {verb}", reason=asked.reason, outcome=outcome, detail=detail)
        async with self._transaction(asked.tenant_id) as scope:
            await auditing.record(scope, [entry])


def _told(error: Exception) -> str:
    return str(error) if isinstance(error, NothingToMend) else f"its owner cannot: {type(error).__name__}: {error}"
