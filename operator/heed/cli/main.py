"""`heed`: one command per file, imported only when it is used, so that help and completion answer at once."""

import importlib
import importlib.util
import logging
import os
import signal
import sys
import traceback
from typing import Any, Final

import click
from click.shell_completion import CompletionItem

from heed import __version__
from heed.cli.output import CliError, to_cli_error
from heed.errors import HeedError

COMMANDS: Final[dict[str, dict[str, str]]] = {
    "Write Agents": {
        "validate": "Check manifests without a cluster, with file and line of every mistake.",
        "build": "Write the manifests that Agents in Python are.",
        "simulate": "Show what Agents make of some events: no cluster, no broker, no waiting.",
    },
    "Run Agents": {
        "demo": "Watch an Agent at work on a real JetStream, on this machine.",
        "dev": "Run Agents from manifests on this machine; jobs run as processes.",
        "operator": "Run the Agents of a cluster.",
        "worker": "Run the code of an Agent in Python.",
        "gateway": "Take events by HTTP for the Agents of a cluster.",
    },
    "Talk to Agents": {
        "publish": "Send an event.",
        "suspend": "Have Agents of a cluster read no events for a while.",
        "resume": "Have suspended Agents go on from where they are.",
        "approvals": "Show which approvals wait for people.",
        "approve": "Answer an approval with yes.",
        "reject": "Answer an approval with no.",
        "answer": "Answer an approval with any of its choices.",
        "dead": "Look at events that could not be decided, and have them decided again.",
    },
    "Set up": {
        "crds": "Print the CustomResourceDefinitions.",
        "broker-keys": "Make the keys of a broker that asks who everybody is.",
        "credentials": "Make credentials for who publishes or sees events.",
        "completion": "Print a script that lets your shell complete heed's commands.",
    },
}
# Modules of the packages that the extras of these names bring, beyond what is always there.
DEV_MODULES: Final = frozenset({"cel_expr_python", "cloudevents", "cronsim", "jsonschema_rs"})
OPERATOR_MODULES: Final = frozenset(
    {"cryptography", "kopf", "kubernetes", "markdown_it", "prometheus_client"}
)
CLUSTER_COMMANDS: Final = frozenset(
    {"operator", "gateway", "suspend", "resume", "approvals", "approve", "reject", "answer"}
)
EPILOG: Final = """\b
Examples:
  heed validate -f agent.yaml
  heed simulate -f agent.yaml events.jsonl --complete research='{"answer": "42"}'
  heed dev -f agent.yaml

\b
heed COMMAND --help says more. HEED_DEBUG=1 shows the traceback of an error."""


class LazyGroup(click.Group):
    """A group that knows its commands by name, and turns errors into messages and exit codes."""

    def main(self, *args: Any, **options: Any) -> Any:
        """Run a command. As the first process of a container it ends with SIGTERM, also while it starts.

        Linux ignores the signals of a process 1 for which it has no handler: pid_namespaces(7).
        """
        if os.getpid() == 1:
            signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
        return super().main(*args, **options)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands that are installed."""
        return [name for section in COMMANDS.values() for name in section if _is_installed(name)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command."""
        if cmd_name not in self.list_commands(ctx):
            return None
        try:
            command = getattr(importlib.import_module(_module(cmd_name)), cmd_name.replace("-", "_"))
        except ModuleNotFoundError as error:
            raise CliError(_explain_missing(cmd_name, error)) from error
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that the arguments name, or what may have been meant."""
        name = str(args[0])
        if not name.startswith("-") and not ctx.resilient_parsing and name not in self.list_commands(ctx):
            raise click.NoSuchCommand(name, possibilities=self.list_commands(ctx), ctx=ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The commands by section, without importing any."""
        for title, section in COMMANDS.items():
            rows = [(name, text) for name, text in section.items() if _is_installed(name)]
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Commands with their help, without importing any."""
        items = [
            CompletionItem(name, help=text)
            for section in COMMANDS.values()
            for name, text in section.items()
            if name.startswith(incomplete) and _is_installed(name)
        ]
        return [*items, *click.Command.shell_complete(self, ctx, incomplete)]

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; what goes wrong ends in a message and an exit code."""
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError):
            raise
        except KeyboardInterrupt:
            raise click.exceptions.Exit(130) from None
        except HeedError as error:
            _show_traceback(error)
            raise to_cli_error(error) from None
        except ModuleNotFoundError as error:
            if _root_of(error) not in DEV_MODULES | OPERATOR_MODULES:
                raise _failure(_broke(error), error) from None
            raise _failure(_explain_missing(ctx.invoked_subcommand or "", error), error) from None
        except OSError as error:
            raise _failure(_system_error(error), error) from None
        except Exception as error:
            raise _failure(_broke(error), error) from None


def _explain_missing(command: str, error: ModuleNotFoundError) -> str:
    """Which package a command lacks, and the extra that brings it."""
    missing = _root_of(error)
    if missing not in DEV_MODULES | OPERATOR_MODULES:
        return f"heed {command} needs the Python package {error.name or error}; install it first"
    extra = "dev" if missing in DEV_MODULES and command not in CLUSTER_COMMANDS else "operator"
    return f"heed {command} needs the Python package {missing}; install it: pip install 'heed[{extra}]'"


def _root_of(error: ModuleNotFoundError) -> str:
    return (error.name or "").partition(".")[0]


def _system_error(error: OSError) -> str:
    """What the system refused: of a path, which somebody chose, it is no mistake of Heed's."""
    if isinstance(error.filename, str | os.PathLike):
        return f"{os.fspath(error.filename)}: {error.strerror}; give a path that can be used"
    return _broke(error)


def _broke(error: Exception) -> str:
    message = f"heed broke: {type(error).__name__}: {str(error)[:500]}"
    return f"{message}; please report it with what HEED_DEBUG=1 shows"


def _failure(message: str, error: Exception) -> CliError:
    _show_traceback(error)
    return CliError(message or type(error).__name__)


def _show_traceback(error: Exception) -> None:
    if os.environ.get("HEED_DEBUG", "0") not in ("", "0"):
        click.echo("".join(traceback.format_exception(error)), err=True, nl=False)


def _is_installed(name: str) -> bool:
    return importlib.util.find_spec(_module(name)) is not None


def _module(name: str) -> str:
    return f"heed.cli.{name.replace('-', '_')}"


@click.group(
    cls=LazyGroup,
    epilog=EPILOG,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="heed")
def main() -> None:
    """Heed runs event-driven agents on Kubernetes.

    An Agent is a resource that says which CloudEvents it heeds, what it remembers, how it reacts, and which Jobs it
    starts.
    """
    logging.getLogger("heed").addHandler(logging.NullHandler())  # commands say themselves what went wrong
