"""Which use case answers which command, and takes in which event."""

from typing import Final

from contracts.inventory import ReleaseStock, ReserveStock
from contracts.orders import OrderCompleted
from infra.handling import Handles, handles
from services.inventory.repository import ShelfRepository
from services.inventory.use_cases import consume_stock, release_stock, reserve_stock

HANDLES: Final[tuple[Handles, ...]] = (
    handles(
        ShelfRepository(),
        ReserveStock.answered_by(reserve_stock),
        ReleaseStock.answered_by(release_stock),
        OrderCompleted.heard_by(consume_stock),
    ),
)
