"""The rules that no linter knows, each a function from a module to what is wrong with it."""

import ast
from collections.abc import Iterator
from typing import Final

from tests.architecture.source import Module

LINES_MAX: Final = 300
FUNCTION_LINES_MAX: Final = 50
FORBIDDEN_NAMES: Final = {"base", "common", "helper", "helpers", "manager", "managers", "misc", "util", "utils"}
COMMITTERS: Final = {"infra/transaction.py", "infra/unscoped/due.py", "infra/migrate.py"}
CATCH_ALL: Final = "infra/consumer.py"
CLOCK: Final = "infra/clock.py"
EDGES: Final = {
    "infra/http/auth.py": "a token is valid at the time of the request",
    "infra/cli/letters/commands.py": "how long ago it was, to who looks",
    "infra/cli/letters/replaying.py": "how long ago it was, to who looks",
    "infra/cli/letters/filters.py": "what `2h` ago is, to who types it",
    "infra/dev/acquirer.py": "a server of somebody else's",
    "infra/retention.py": "a timer",
    "infra/http/serve.py": "how old the outbox is, to a health check",
    "infra/sweeper.py": "a timer",
    "infra/token.py": "a command",
    "sagas/engine/deadlines.py": "a timer",
    "sagas/metrics.py": "how long a saga has waited, to those who watch",
    "sagas/ops_api.py": "how old a saga is, to who asks",
    "services/ops/mend/archive_api.py": "what has died since the request is left alone",
    "services/ops/books/reconcile_api.py": "what has moved a moment before the request is left alone",
    "services/ops/books/rounds.py": "a timer",
    "services/ops/replay/replay_api.py": "a plan is of the time of its request",
    "services/ops/replay/replaying.py": "a timer",
    "services/ops/desk/forgetting.py": "a timer",
    "services/ops/taking_in/ingest.py": "where dead letters come in",
    "services/ops/desk/metrics.py": "how long a letter has waited, to those who watch",
    "services/payments/api.py": "a callback is too old at the time of the request",
    "services/payments/calling.py": "a timer",
}
"""Who may read the clock, and why it is an edge. Transactions are given the clock itself, by infra/runtime.py."""
_PURE_FILES: Final = (
    *("/use_cases.py", "/model.py", "/pricing.py", "/engine/machine.py", "/engine/outlook.py", "/engine/instance.py"),
    "/ops/replay.py",
)
_SQL: Final = ("begin", "commit", "rollback", "start transaction", "end")


def too_long(module: Module) -> Iterator[str]:
    lines = len(module.text.splitlines())
    if lines > LINES_MAX:
        yield f"{module.name} has {lines} lines, {LINES_MAX} are the most"


def functions_too_long(module: Module) -> Iterator[str]:
    for node in ast.walk(module.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > FUNCTION_LINES_MAX:
                yield f"{module.name}::{node.name} has {lines} lines, {FUNCTION_LINES_MAX} are the most"


def misnamed(module: Module) -> Iterator[str]:
    parts = module.name.removesuffix(".py").split("/")
    for part in sorted(set(parts) & FORBIDDEN_NAMES):
        yield f"{module.name}: name the thing, not {part!r}"


def transactions_elsewhere(module: Module) -> Iterator[str]:
    """Beginning and committing transactions is what COMMITTERS alone do, whether by method or in SQL."""
    if module.name in COMMITTERS:
        return
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and _ends_a_transaction(module, node.func):
            yield f"{module.name}:{node.lineno} calls {ast.unparse(node.func)}"
        if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant) and _is_transaction_sql(node.args[0].value):
            yield f"{module.name}:{node.lineno} says {node.args[0].value!r}"


def _is_transaction_sql(value: object) -> bool:
    return isinstance(value, str) and value.strip(" ;\n").lower() in _SQL


def _ends_a_transaction(module: Module, called: ast.Attribute) -> bool:
    receiver = ast.unparse(called.value)
    if called.attr == "begin" and module.name.startswith("infra/dev/"):
        return False  # servers are begun there, not transactions
    if called.attr == "commit" and receiver == "self._batches":
        return False  # Batches.commit is a transaction of infra/transaction.py
    return called.attr in {"begin", "begin_nested", "commit", "rollback"} or (called.attr == "transaction" and "connection" in receiver)


def catch_alls(module: Module) -> Iterator[str]:
    """Handlers of everything. One that cleans up and raises the same again catches nothing."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.ExceptHandler) and _catches_everything(node):
            yield f"{module.name}:{node.lineno}"


def _catches_everything(handler: ast.ExceptHandler) -> bool:
    last = handler.body[-1]
    if isinstance(last, ast.Raise) and last.exc is None:
        return False
    kinds = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return any(kind is None or ast.unparse(kind) in {"Exception", "BaseException"} for kind in kinds)


def clock_reads(module: Module) -> Iterator[str]:
    """Reads of the wall clock: ours from EDGES alone, the system's from CLOCK alone."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            ours = called in {"now", "clock.now"} and module.name not in EDGES
            system = called in {"datetime.now", "datetime.utcnow", "datetime.today", "date.today", "time.time", "datetime.datetime.now"}
            if ours or (system and module.name != CLOCK):
                yield f"{module.name}:{node.lineno} reads the clock: {called}()"


def impurities(module: Module) -> Iterator[str]:
    """What a pure decision never does: wait, catch, log, print."""
    if not module.name.endswith(_PURE_FILES):
        return
    for node in ast.walk(module.tree):
        if isinstance(node, ast.AsyncFunctionDef | ast.Await | ast.AsyncFor | ast.AsyncWith):
            yield f"{module.name}:{node.lineno} waits for something"
        if isinstance(node, ast.Try) and not module.name.endswith(("/model.py", "/instance.py")):
            yield f"{module.name}:{node.lineno} catches"
        if isinstance(node, ast.Call) and ast.unparse(node.func) in {"print", "open", "getLogger", "logging.getLogger"}:
            yield f"{module.name}:{node.lineno} calls {ast.unparse(node.func)}"
        if (
            isinstance(node, ast.ImportFrom)
            and node.module
            and node.module.startswith(("sqlalchemy.ext", "sqlalchemy.orm", "sqlmodel.ext"))
        ):
            yield f"{module.name}:{node.lineno} imports {node.module}"
        if isinstance(node, ast.ImportFrom) and any(name.name in {"Session", "AsyncSession"} for name in node.names):
            yield f"{module.name}:{node.lineno} imports a session"
