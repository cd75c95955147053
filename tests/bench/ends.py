"""When a transaction was committed, by the clock of whoever committed it: so nobody has to look for the ends of orders all the time."""

from pathlib import Path

import asyncpg

from infra.dev.postgres import Postgres


async def note_when_commits_are(home: Path) -> None:
    """Have the server of this home note it from its next start on; it does not run yet."""
    postgres = Postgres(home)
    postgres.start()
    try:
        administrator = await asyncpg.connect(postgres.url)
        await administrator.execute("ALTER SYSTEM SET track_commit_timestamp = on")
        await administrator.close()
    finally:
        postgres.stop()
