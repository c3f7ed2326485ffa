"""How commands show things: for people with colours and tables, for machines as JSON or YAML."""

import json
import os
from collections.abc import Callable, Sequence
from typing import Any, Final, Literal, TypeVar

import click

from heed.errors import HeedError, InvalidManifest, InvalidSettings, MalformedEvent
from heed.util.terminal import CONTROL_CHARACTERS, visible

OutputFormat = Literal["text", "json", "yaml"]
Command = TypeVar("Command", bound=Callable[..., Any])

OUTPUT_FORMATS: Final = ("text", "json", "yaml")


class CliError(click.ClickException):
    """An error shown in red on standard error."""

    def show(self, file: Any = None) -> None:
        """Print it."""
        for line in self.message.splitlines() or ["failed"]:
            click.echo(paint(visible(line), "red"), file=file, err=file is None)


class BadInput(CliError):
    """Input other than manifests that cannot be used; like a wrong option."""

    exit_code = 2


def to_cli_error(error: HeedError) -> CliError:
    """An error as every command shows it: its message alone; 2 where an option, a setting or a file cannot be used."""
    if isinstance(error, InvalidManifest):
        return CliError("\n".join(map(str, error.problems)))
    kind = BadInput if isinstance(error, InvalidSettings | MalformedEvent) else CliError
    return kind(str(error) or type(error).__name__)


def output_option(command: Command) -> Command:
    """The option `-o text|json|yaml`, passed on as `output`."""
    option = click.option(
        "-o",
        "--output",
        type=click.Choice(OUTPUT_FORMATS),
        default="text",
        show_default=True,
        help="Form of the output.",
    )
    return option(command)


def show_data(value: Any, form: OutputFormat) -> None:
    """Print a value as JSON or YAML."""
    if form == "yaml":
        click.echo(to_yaml(value), nl=False)
    else:
        click.echo(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False))


def to_yaml(value: Any) -> str:
    """A JSON value as YAML that any reader, kubectl's too, reads back as the same value."""
    import yaml  # 15 ms that most commands need not pay

    from heed.api.manifest.yaml import is_word

    class Dumper(yaml.SafeDumper):
        def ignore_aliases(self, data: Any) -> bool:
            return True

    def text(dumper: yaml.SafeDumper, data: str) -> yaml.ScalarNode:
        style = "|" if "\n" in data else None if is_word(data) else '"'
        if CONTROL_CHARACTERS.search(data):
            style = '"'
        return dumper.represent_scalar("tag:yaml.org,2002:str", data, style=style)

    Dumper.add_representer(str, text)
    return str(yaml.dump(value, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=110))


def paint(text: str, colour: str | None = None, *, bold: bool | None = None) -> str:
    """Coloured text, unless NO_COLOR asks for none; click drops colours where there is no terminal."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return text
    return click.style(text, fg=colour, bold=bold)


def inline_json(value: Any, limit: int | None = None) -> str:
    """A JSON value in one line, cut after `limit` characters."""
    text = visible(json.dumps(value, ensure_ascii=False))
    return text if limit is None or len(text) <= limit else text[: limit - 1] + "…"


def show_table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows in columns as wide as their widest cell; the last one is not padded."""
    lines = [[paint(title, bold=True) for title in headers], *rows]
    widths = [max(len(click.unstyle(line[column])) for line in lines) for column in range(len(headers))]
    for line in lines:
        cells = [
            cell + " " * (width - len(click.unstyle(cell))) for cell, width in zip(line, widths, strict=True)
        ]
        click.echo("   ".join(cells).rstrip())
