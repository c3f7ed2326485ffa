"""`heed crds`: the CustomResourceDefinitions, to standard output or into folders."""

from pathlib import Path
from typing import Any

import click
import yaml

from heed import names
from heed.api.crd.schema import crds as definitions

HEADER = "# Generated from operator/heed/api by `heed crds`; do not edit.\n"


def crd_files() -> dict[str, str]:
    """File name to content of every CRD."""
    return {
        f"{names.GROUP}_{crd['spec']['names']['plural']}.yaml": HEADER + _yaml(crd) for crd in definitions()
    }


def _yaml(document: dict[str, Any]) -> str:
    return yaml.safe_dump(document, sort_keys=False, width=110, allow_unicode=True)


@click.command()
@click.option(
    "--output", type=click.Path(path_type=Path, file_okay=False), multiple=True, help="Write into a folder."
)
@click.option("--check", is_flag=True, help="Write nothing; exit 1 if a folder's files are not current.")
def crds(output: tuple[Path, ...], check: bool) -> None:
    """Print the CustomResourceDefinitions.

    \b
    Examples:
      heed crds | kubectl apply --server-side -f -
      heed crds --output crds
    """
    stale = [
        folder / name
        for folder in output
        for name, content in crd_files().items()
        if not (folder / name).exists() or (folder / name).read_text() != content
    ]
    if check:
        for path in stale:
            click.echo(f"{path}: not current; run `make generate`", err=True)
        raise SystemExit(1 if stale else 0)
    for path in stale:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(crd_files()[path.name])
        click.echo(f"wrote {path}", err=True)
    if not output:
        click.echo("---\n".join(crd_files().values()), nl=False)
