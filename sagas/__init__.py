"""Drives every order through the services, and undoes what it must.

Owns:  the schema `sagas`: one row per saga under way or ended, and its history.
In:    `OrderPlaced`; every reply of a participant.
Out:   commands to `tenants`, `inventory` and `orders`.
Serves `GET /v1/orders/{id}/timeline`.
"""
