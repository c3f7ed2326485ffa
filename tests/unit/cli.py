"""`heed` as people type it."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner, Result

from heed.cli.main import main


def heed(
    *arguments: str | Path, stdin: str | bytes | None = None, env: dict[str, str] | None = None
) -> Result:
    """Run a command; no mistake of Heed's own gets as far as a traceback."""
    result = CliRunner().invoke(main, [str(argument) for argument in arguments], input=stdin, env=env)
    assert "Traceback" not in result.output
    assert result.exception is None or isinstance(result.exception, SystemExit), result.output
    return result
