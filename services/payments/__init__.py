"""Payments: what is held on and taken from the client's card for an order, at a payment provider outside.

Owns:   payment (what is wanted, what is so, and the call whose outcome is not known yet), one row per order
Hears:  AuthorisePayment, CapturePayment, ReturnPayment (from the sagas), the provider's callbacks over HTTP
Says:   PaymentAuthorised, PaymentRefused, PaymentCaptured, PaymentReturned; mostly later, when the provider has answered
"""
