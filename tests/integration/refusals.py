"""What PostgreSQL refuses, by whichever driver it is told: the application's is psycopg, the administrator's here is asyncpg."""

from typing import Final

import asyncpg
from psycopg import errors

NO_RIGHT: Final = (asyncpg.InsufficientPrivilegeError, errors.InsufficientPrivilege)
CHECK_VIOLATED: Final = (asyncpg.CheckViolationError, errors.CheckViolation)
KEY_MISSING: Final = (asyncpg.ForeignKeyViolationError, errors.ForeignKeyViolation)
NOT_UNIQUE: Final = (asyncpg.UniqueViolationError, errors.UniqueViolation)
DIVIDED_BY_ZERO: Final = (asyncpg.DivisionByZeroError, errors.DivisionByZero)
