"""Tenants, and the monthly quota that their orders take a place in.

Owns:   tenant (its status and limits), quota (orders and pence per month, held and settled), quota_hold
Hears:  ReserveQuota, ReleaseQuota (from the saga), OrderCompleted (the order's place is used for good)
Says:   QuotaReserved, QuotaExceeded, TenantSuspended, QuotaReleased
"""
