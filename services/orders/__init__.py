"""Orders, from the client's request to the customer's hands.

Owns:   customer_order with its order_line, idempotency; shop and product, its own projection of what inventory tells
Hears:  ApproveOrder, RejectOrder (from the saga), ShopOpened, ProductListed (from inventory)
Says:   OrderApproved, OrderCancelled, OrderRejected; OrderPlaced, OrderCompleted
"""
