"""Which use case answers which command, and takes in which event."""

from typing import Final

from contracts.inventory import ProductListed, ShopOpened
from contracts.orders import ApproveOrder, RejectOrder
from infra.handling import Handles, handles
from services.orders.repository import CatalogueRepository, OrderBookRepository
from services.orders.use_cases import approve_order, learn_product, learn_shop, reject_order

HANDLES: Final[tuple[Handles, ...]] = (
    handles(
        OrderBookRepository(),
        ApproveOrder.answered_by(approve_order),
        RejectOrder.answered_by(reject_order),
    ),
    handles(
        CatalogueRepository(),
        ShopOpened.heard_by(learn_shop),
        ProductListed.heard_by(learn_product),
    ),
)
