"""Tenants, the monthly quota that their orders take a place in, and the ledger that the orders are charged to.

Owns:   tenant (its status and limits), quota (the months' running totals), quota_hold, financial_transactions (entries are never changed)
Hears:  ReserveQuota, ReleaseQuota, ChargeOrder, RefundOrder (from the sagas), OrderCompleted (the order's place is used for good)
Says:   QuotaReserved, QuotaExceeded, TenantSuspended, QuotaReleased, OrderCharged, SpendingLimitReached, OrderRefunded
"""
