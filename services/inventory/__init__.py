"""Shops, products, and the stock that orders hold.

Owns:   shop, product, stock (available + held + consumed = received), stock_hold with its lines
Hears:  ReserveStock, ReleaseStock (from the saga), OrderCompleted (the held goods have left the shop)
Says:   StockReserved, OutOfStock, StockReleased; ShopOpened, ProductListed
"""
