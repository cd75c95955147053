"""HTTP in for operators: dead letters, what is done with them, and whether the services' books agree.

An operator with a tenant sees and acts on that tenant's only.
"""

from fastapi import APIRouter
from sqlalchemy.ext.asyncio import AsyncEngine

from infra.settings import Settings
from infra.transaction import Transactions
from services.ops.books import reconcile_api
from services.ops.desk import reading_api
from services.ops.mend import mend_api
from services.ops.replay import replay_api


def router(transaction: Transactions, sweeper_pool: AsyncEngine, settings: Settings) -> APIRouter:
    """The operators' routes."""
    parts = (
        reading_api.lists(transaction, sweeper_pool),
        replay_api.routes(transaction, sweeper_pool, settings),
        mend_api.routes(transaction, sweeper_pool, settings),
        reconcile_api.routes(transaction, sweeper_pool, settings),
        # Last: it takes whatever stands in the place of a letter's id.
        reading_api.one(transaction, sweeper_pool, settings),
    )
    return APIRouter(routes=[route for part in parts for route in part.routes], tags=["operators"])
