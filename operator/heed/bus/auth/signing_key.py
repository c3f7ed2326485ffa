"""Keys that sign users, read from the files that settings name."""

from pathlib import Path

from heed.bus.auth.jwt import UserSigner
from heed.errors import InvalidSettings


def read_signing_key(path: Path, account: str | None, variables: tuple[str, str]) -> UserSigner:
    """The signer with the seed in a file. `variables` are those of path and account. Raises InvalidSettings."""
    seed, of = variables
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidSettings(f"{seed}={path}: {type(error).__name__}; give a file with a seed") from None
    try:
        return UserSigner.of(text, (account or "").strip() or None)
    except InvalidSettings as error:
        raise InvalidSettings(f"{seed}={path}, {of}: {error}") from None
