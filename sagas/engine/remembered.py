"""The sagas that this process moved last, as they were committed: what is remembered need not be read and parsed again.

A row is locked before what is remembered of it is trusted, and only if it still has the same revision: whoever moved it meanwhile, another
process or an operator, has raised that.
"""

from collections import OrderedDict
from collections.abc import Iterable
from typing import Final

from contracts.values import SagaId, TenantId
from sagas.engine.held import Held

_SAGAS_MAX: Final = 10_000
"""Some 4 kB each."""


class Remembered:
    """By tenant and saga; those that were moved longest ago are forgotten first."""

    def __init__(self, sagas_max: int = _SAGAS_MAX) -> None:
        self._known: OrderedDict[tuple[TenantId, SagaId], Held] = OrderedDict()
        self._sagas_max = sagas_max

    def keep(self, tenant_id: TenantId, moved: Iterable[Held]) -> None:
        """These have been committed so. One that has ended is forgotten: hardly anything comes for it any more."""
        for one in moved:
            key = tenant_id, one.instance.id
            self._known.pop(key, None)
            if not one.instance.state.is_final:
                self._known[key] = one
        while len(self._known) > self._sagas_max:
            self._known.popitem(last=False)

    def of(self, tenant_id: TenantId, ids: Iterable[SagaId]) -> dict[SagaId, Held]:
        """What is remembered of them, each to be moved on; nothing of those that are not."""
        known = ((id, self._known.get((tenant_id, id))) for id in ids)
        return {id: one.as_committed() for id, one in known if one is not None}
