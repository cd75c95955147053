"""Which use case answers which command, and takes in which event."""

from typing import Final

from contracts.inventory import ProductListed, ShopOpened
from contracts.orders import ApproveOrder, MarkOrderCancelled, RejectOrder, RequestAcceptance, WithdrawAcceptance
from infra.handling import Handles, handles
from services.orders.repository import CatalogueRepository, OrderBookRepository
from services.orders.use_cases import (
    approve_order,
    learn_product,
    learn_shop,
    mark_order_cancelled,
    reject_order,
    request_acceptance,
    withdraw_acceptance,
)

HANDLES: Final[tuple[Handles, ...]] = (
    handles(
        OrderBookRepository(),
        ApproveOrder.answered_by(approve_order),
        RejectOrder.answered_by(reject_order),
        MarkOrderCancelled.answered_by(mark_order_cancelled),
        RequestAcceptance.answered_by(request_acceptance),
        WithdrawAcceptance.answered_by(withdraw_acceptance),
    ),
    handles(
        CatalogueRepository(),
        ShopOpened.heard_by(learn_shop),
        ProductListed.heard_by(learn_product),
    ),
)
