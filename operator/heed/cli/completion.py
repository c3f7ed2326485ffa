"""`heed completion`: a script for the shell."""

from typing import Final

import click
from click.shell_completion import BashComplete, FishComplete, ShellComplete, ZshComplete

_SHELLS: Final[dict[str, tuple[type[ShellComplete], str]]] = {
    "bash": (BashComplete, "heed completion bash > ~/.local/share/bash-completion/completions/heed"),
    "zsh": (
        ZshComplete,
        'heed completion zsh > "${fpath[1]}/_heed"  # or: eval "$(heed completion zsh)" in ~/.zshrc',
    ),
    "fish": (FishComplete, "heed completion fish > ~/.config/fish/completions/heed.fish"),
}


@click.command()
@click.argument("shell", type=click.Choice(list(_SHELLS)))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the script that lets SHELL complete heed's commands and options.

    \b
    Install it with one of:
      heed completion bash > ~/.local/share/bash-completion/completions/heed
      heed completion zsh > "${fpath[1]}/_heed"
      heed completion fish > ~/.config/fish/completions/heed.fish
    """
    make, install = _SHELLS[shell]
    script = make(ctx.find_root().command, {}, "heed", "_HEED_COMPLETE")
    # Past BashComplete.source, which starts bash only to look at its version.
    text = ShellComplete.source(script)
    first, _, rest = text.lstrip().partition("\n")
    note = f"# To install: {install}"
    # zsh finds a script for `heed` by its first line.
    click.echo("\n".join([first, note, rest] if first.startswith("#compdef") else [note, first, rest]))
