"""Orders, from the client's request to the customer's hands.

Owns:   customer_order with its order_line, idempotency; shop and product, its own projection of what inventory tells
        unanswered, the sagas that wait for somebody in the shop
Hears:  ApproveOrder, RejectOrder, RequestAcceptance, WithdrawAcceptance, MarkOrderCancelled (from the sagas),
        ShopOpened, ProductListed (from inventory)
Says:   OrderApproved, OrderCancelled, OrderRejected, OrderAccepted, OrderDeclined, AcceptanceWithdrawn, OrderMarkedCancelled;
        OrderPlaced, OrderCancelRequested, OrderCompleted
"""
