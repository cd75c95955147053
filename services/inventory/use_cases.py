"""What can be asked of inventory: one pure decision each, on a shelf that the edge has loaded and will save."""

from contracts.inventory import OutOfStock, ProductListed, ReleaseStock, ReserveStock, ShopOpened, StockReleased, StockReserved
from contracts.orders import OrderCompleted
from contracts.values import ShopId, VatRate, allergens_of
from services.inventory.model import Product, Shelf, Shop


def reserve_stock(command: ReserveStock, shelf: Shelf) -> StockReserved | OutOfStock:
    """Hold every line of the order, or none of them."""
    # A release that overtook this command has withdrawn the order already.
    if shelf.is_withdrawn(command.order_id):
        return OutOfStock()
    if (reservation_id := shelf.reservation_of(command.order_id)) is not None:
        return StockReserved(reservation_id=reservation_id)
    if not shelf.covers(command.shop_id, command.lines):
        return OutOfStock()
    return StockReserved(reservation_id=shelf.hold(command.order_id, command.shop_id, command.lines))


def release_stock(command: ReleaseStock, shelf: Shelf) -> StockReleased:
    """Hold nothing for the order, now and later."""
    shelf.withdraw(command.order_id)
    return StockReleased()


def consume_stock(event: OrderCompleted, shelf: Shelf) -> None:
    """The goods have left the shop."""
    shelf.consume(event.order_id)


def announce_shop(shop: Shop) -> ShopOpened:
    """What others are told about a new shop."""
    return ShopOpened(shop_id=ShopId(shop.shop_id), name=shop.name, accepts_by_hand=shop.accepts_by_hand)


def announce_product(product: Product) -> ProductListed:
    """What others are told about a product as it is now."""
    return ProductListed(
        sku=product.sku,
        version=product.version,
        name=product.name,
        price_pence=product.price_pence,
        vat_rate=VatRate(product.vat_rate),
        allergens=allergens_of(product.allergen_mask),
    )
