"""The service `sagas` as a process runs it."""

from typing import Final

from infra.service import Service
from sagas.consumers import handles, watch_deadlines

SERVICE: Final = Service(name="sagas", handles=handles, api="sagas.api", background=watch_deadlines, operators="sagas.ops_api")
