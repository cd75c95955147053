"""Which requests are the same request."""

from uuid import UUID, uuid4

from services.orders.idempotency import claim
from services.orders.views import NewOrder

SHOP = uuid4()


def claimed(body: str) -> str:
    found = claim("key", NewOrder.model_validate_json(body))
    assert found is not None
    return found.fingerprint


def test_spacing_and_order_of_members_make_no_other_request() -> None:
    one = claimed(f'{{"shop_id": "{SHOP}", "lines": [{{"sku": "CAKE", "quantity": 1}}]}}')
    assert one == claimed(f'{{"lines":[{{"quantity":1,"sku":"CAKE"}}],"shop_id":"{str(SHOP).upper()}"}}')


def test_another_quantity_is_another_request() -> None:
    bodies = [f'{{"shop_id": "{SHOP}", "lines": [{{"sku": "CAKE", "quantity": {quantity}}}]}}' for quantity in (1, 2)]
    assert claimed(bodies[0]) != claimed(bodies[1])


def test_without_a_key_nothing_is_claimed() -> None:
    assert claim(None, NewOrder.model_validate_json(f'{{"shop_id": "{SHOP}", "lines": [{{"sku": "CAKE", "quantity": 1}}]}}')) is None


def test_a_request_of_before_orders_could_be_paid_is_the_same_request() -> None:
    body = f'{{"shop_id": "{UUID(int=1)}", "lines": [{{"sku": "CAKE", "quantity": 1}}]}}'
    assert claimed(body) == "e4201edfd78435c8ebfc5d6f6e44707568e3fdc4b09d96ce01c6f443bf46aa7b"


def test_another_card_is_another_request() -> None:
    body = f'{{"shop_id": "{SHOP}", "lines": [{{"sku": "CAKE", "quantity": 1}}], "payment": %s}}'
    cards = [claimed(body % card) for card in ("null", '{"token": "tok_one"}', '{"token": "tok_two"}')]
    assert len(set(cards)) == 3
