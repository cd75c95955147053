"""What inventory decides, on a shelf that is built by hand."""

from uuid import UUID, uuid4

import pytest

from contracts.inventory import OutOfStock, ProductListed, ReleaseStock, ReserveStock, StockReleased, StockReserved
from contracts.orders import OrderCompleted
from contracts.values import Allergen, OrderId, OrderLine, ShopId, Sku, TenantId, VatRate, mask_of
from infra.clock import now
from services.inventory.model import Hold, HoldState, IllegalHold, Level, NotOnTheShelf, Product, Shelf, Stock
from services.inventory.use_cases import announce_product, consume_stock, release_stock, reserve_stock

SHOP = ShopId(UUID(int=1))
ORDER = OrderId(UUID(int=2))
TENANT = TenantId(UUID(int=3))


def shelf(orders: tuple[OrderId, ...] = (ORDER,), **available: int) -> Shelf:
    levels = {(SHOP, sku): Level(SHOP, sku, units, held=0, consumed=0) for sku, units in available.items()}
    return Shelf(TENANT, levels, {order: Hold(order) for order in orders})


def reserve(order_id: OrderId = ORDER, shop_id: ShopId = SHOP, **quantities: int) -> ReserveStock:
    lines = tuple(OrderLine(sku=sku, quantity=quantity) for sku, quantity in quantities.items())
    return ReserveStock(order_id=order_id, shop_id=shop_id, lines=lines)


def units(of: Shelf, sku: Sku) -> tuple[int, int, int]:
    level = of.levels[SHOP, sku]
    return level.available, level.held, level.consumed


def test_holds_every_line() -> None:
    stock = shelf(APPLE=5, PEAR=2)
    assert isinstance(reserve_stock(reserve(APPLE=3, PEAR=2), stock), StockReserved)
    assert (units(stock, "APPLE"), units(stock, "PEAR")) == ((2, 3, 0), (0, 2, 0))


def test_holds_no_line_if_one_is_short() -> None:
    stock = shelf(APPLE=5, PEAR=1)
    assert reserve_stock(reserve(APPLE=3, PEAR=2), stock) == OutOfStock()
    assert (units(stock, "APPLE"), units(stock, "PEAR")) == ((5, 0, 0), (1, 0, 0))


def test_of_an_unknown_sku_there_is_nothing() -> None:
    assert reserve_stock(reserve(PLUM=1), shelf(APPLE=5)) == OutOfStock()


def test_of_an_unknown_shop_there_is_nothing() -> None:
    assert reserve_stock(reserve(shop_id=ShopId(uuid4()), APPLE=1), shelf(APPLE=5)) == OutOfStock()


def test_a_sku_on_two_lines_is_summed_before_it_is_compared() -> None:
    line = OrderLine(sku="APPLE", quantity=3)
    twice = ReserveStock(order_id=ORDER, shop_id=SHOP, lines=(line, line))
    assert reserve_stock(twice, shelf(APPLE=5)) == OutOfStock()
    enough = shelf(APPLE=6)
    assert isinstance(reserve_stock(twice, enough), StockReserved)
    assert units(enough, "APPLE") == (0, 6, 0)


def test_two_tenants_never_share_a_reservation() -> None:
    ours, theirs = shelf(APPLE=1), shelf(APPLE=1)
    theirs.tenant_id = TenantId(uuid4())
    assert reserve_stock(reserve(APPLE=1), ours) != reserve_stock(reserve(APPLE=1), theirs)


def test_a_release_that_overtook_its_reserve_wins() -> None:
    stock = shelf(APPLE=5)
    assert release_stock(ReleaseStock(order_id=ORDER), stock) == StockReleased()
    assert reserve_stock(reserve(APPLE=1), stock) == OutOfStock()


def test_a_completed_order_consumes_what_it_held() -> None:
    stock = shelf(APPLE=5)
    reserve_stock(reserve(APPLE=3), stock)
    consume_stock(OrderCompleted(order_id=ORDER), stock)
    assert units(stock, "APPLE") == (2, 0, 3)
    assert stock.holds[ORDER].state is HoldState.CONSUMED


def test_a_refused_order_changes_nothing_that_would_be_saved() -> None:
    stock = shelf(APPLE=1)
    reserve_stock(reserve(APPLE=2), stock)
    assert not stock.holds[ORDER].changed
    assert not stock.levels[SHOP, "APPLE"].changed


@pytest.mark.parametrize(
    ("state", "wanted"),
    [
        (HoldState.NEW, HoldState.CONSUMED),
        (HoldState.HELD, HoldState.HELD),
        (HoldState.HELD, HoldState.NEW),
        (HoldState.WITHDRAWN, HoldState.HELD),
        (HoldState.WITHDRAWN, HoldState.CONSUMED),
        (HoldState.CONSUMED, HoldState.WITHDRAWN),
        (HoldState.CONSUMED, HoldState.HELD),
    ],
)
def test_a_hold_takes_no_step_that_its_life_does_not_have(state: HoldState, wanted: HoldState) -> None:
    with pytest.raises(IllegalHold, match=f"is {state} and cannot become {wanted}"):
        Hold(ORDER, state).become(wanted)


def test_no_more_units_move_than_there_are() -> None:
    level = Level(SHOP, "APPLE", available=1, held=1, consumed=0)
    with pytest.raises(NotOnTheShelf):
        level.hold(2)
    with pytest.raises(NotOnTheShelf):
        level.release(2)
    with pytest.raises(NotOnTheShelf):
        level.consume(2)
    assert not level.changed


@pytest.mark.parametrize(("available", "received"), [(20, 25), (0, 5), (10, 15)])
def test_counting_stock_moves_what_was_received_and_leaves_what_orders_hold(available: int, received: int) -> None:
    stock = Stock(tenant_id=TENANT, shop_id=SHOP, sku="APPLE", available=10, held=3, consumed=2, received=15, changed_at=now())
    stock.count(available, now())
    assert (stock.available, stock.held, stock.consumed, stock.received) == (available, 3, 2, received)


def test_every_change_of_a_product_is_a_new_version_that_others_are_told_about() -> None:
    product = Product(
        tenant_id=TENANT,
        sku="PIE",
        name="Pie",
        price_pence=350,
        vat_rate="ZERO",
        allergen_mask=0,
        ingredients=[],
        created_at=now(),
        changed_at=now(),
    )
    nuts = (Allergen.MILK, Allergen.NUTS)
    product.relist(name="Nut pie", price_pence=400, vat_rate="STANDARD", allergens=nuts, ingredients=["nuts", "cream"], now=now())
    listed = ProductListed(sku="PIE", version=2, name="Nut pie", price_pence=400, vat_rate=VatRate.STANDARD, allergens=nuts)
    assert announce_product(product) == listed
    assert product.allergen_mask == mask_of(nuts)
