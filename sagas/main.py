"""The service `sagas` as a process runs it."""

from typing import Final

from infra.service import Service
from sagas.consumers import handles, watch

SERVICE: Final = Service(name="sagas", handles=handles, api="sagas.api", background=watch, operators="sagas.ops_api")
