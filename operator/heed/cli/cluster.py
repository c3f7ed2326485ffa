"""The cluster a command talks to: that of kubeconfig and context, as kubectl chooses them."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

import click

from heed import names
from heed.cli.output import BadInput, Command, to_cli_error
from heed.errors import HeedError

if TYPE_CHECKING:
    from heed.kube.client.client import KubeApi  # half a second, which help and completion need not pay

T = TypeVar("T")
_CONTEXT: Final = f"{__name__}.context"  # among what a click context carries


@dataclass(frozen=True, slots=True)
class ClusterChoice:
    """The options that choose a cluster; None for what kubectl would take."""

    kubeconfig: str | None = None
    context: str | None = None

    @property
    def is_given(self) -> bool:
        """Whether an option names one."""
        return bool(self.kubeconfig or self.context)

    def find_namespace(self, given: str | None) -> str:
        """A namespace that was given, else that of the context. Raises BadInput for what is none."""
        from heed.kube.client.client import find_namespace

        chosen = given or find_namespace(self.kubeconfig, self.context)
        if not names.is_name(chosen):
            raise BadInput(f"--namespace {chosen!r}: not a Kubernetes name; use a-z, 0-9 and -")
        return chosen

    def run(self, work: "Callable[[KubeApi], Awaitable[T]]") -> T:
        """What `work` makes of a connection to it. Raises CliError."""

        async def run() -> T:
            from heed.kube.client.client import KubeApi

            api = await KubeApi.connect(self.kubeconfig, self.context)
            try:
                return await work(api)
            finally:
                await api.close()

        try:
            return asyncio.run(run())
        except HeedError as error:
            raise to_cli_error(error) from None


def cluster_option(command: Command) -> Command:
    """The options `--kubeconfig` and `--context`, passed on as `cluster`, a ClusterChoice."""

    def choose(ctx: click.Context, param: click.Parameter, kubeconfig: str | None) -> ClusterChoice:
        return ClusterChoice(kubeconfig, ctx.meta.get(_CONTEXT))

    def keep(ctx: click.Context, param: click.Parameter, context: str | None) -> None:
        """Leave the context to the other option."""
        ctx.meta[_CONTEXT] = context

    file = click.option(
        "--kubeconfig",
        "cluster",
        metavar="FILE",
        callback=choose,
        help="The kubeconfig.  [default: as kubectl finds it]",
    )
    context = click.option(
        "--context",
        metavar="NAME",
        is_eager=True,
        expose_value=False,
        callback=keep,
        help="The context of the kubeconfig.  [default: its current one]",
    )
    return file(context(command))
