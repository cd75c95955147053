"""Random secrets made on first run and kept under the platform's home, readable by its owner only."""

import os
import secrets
from pathlib import Path
from typing import Final

_BYTES: Final = 24


def kept_secret(file: Path) -> str:
    """The secret in `file`; made first if there is none. Letters, digits, `-` and `_` only, so it can stand in a URL."""
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        write_private(file, secrets.token_urlsafe(_BYTES))
    return file.read_text().strip()


def write_private(file: Path, text: str) -> None:
    """Write a file of mode 0600, whole or not at all."""
    draft = file.with_name(f"{file.name}.new")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as output:
        output.write(text)
        output.flush()
        os.fsync(output.fileno())
    draft.replace(file)
