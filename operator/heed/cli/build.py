"""`heed build`: the manifests that Agents in Python are, to apply with kubectl and to keep in git."""

import difflib
import json
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, Literal

import click

from heed.cli.code_manifests import choose_types, read_code
from heed.cli.output import paint, to_yaml
from heed.errors import InvalidManifest, InvalidSettings, Problem
from heed.sdk.asyncapi import build_asyncapi
from heed.sdk.lint import lint_code
from heed.sdk.manifest_places import CodeManifest, with_workers
from heed.util.terminal import visible

Form = Literal["yaml", "json"]

_FILE: Final = click.Path(path_type=Path, dir_okay=False)


@click.command()
@click.argument("module", metavar="MODULE[:AGENT]")
@click.option(
    "-o", "--form", type=click.Choice(["yaml", "json"]), help="Form of the manifests.  [default: the file's]"
)
@click.option("--output", type=_FILE, help="Write the manifests into a file.")
@click.option("--check", type=_FILE, help="Write nothing; exit with 1 where this file is not current.")
@click.option(
    "--image", help="Image whose command is `heed worker` of this module: Heed keeps a Deployment of it."
)
@click.option(
    "--replicas",
    type=click.IntRange(0),
    help="How many workers; if not given, an autoscaler's or `kubectl scale`'s to say.",
)
@click.option("--types/--no-types", default=True, help="With an EventType for each of its types of events.")
@click.option("--asyncapi", type=_FILE, help="Write an AsyncAPI document too, or check that one.")
def build(
    module: str,
    form: Form | None,
    output: Path | None,
    check: Path | None,
    types: bool,
    asyncapi: Path | None,
    image: str | None,
    replicas: int | None,
) -> None:
    """Write the manifests of the Agents in a Python module, which is a file or a dotted name.

    Without a name all Agents of the module are written. What is wrong with the module is told with file and line;
    exits with 1 then, and where a file is not current, with 2 where there is no such module.

    \b
    Examples:
      heed build agent.py | kubectl apply -f -
      heed build agent.py:researcher --output agent.yaml
      heed build agent.py --check agent.yaml --asyncapi asyncapi.yaml
      heed build agent.py --image registry.example.com/researcher:1 --replicas 2
    """
    if output and check:
        raise click.UsageError("--output writes a file, and --check writes nothing: give one of them")
    if replicas is not None and image is None:
        raise click.UsageError("--replicas is for the workers of an --image")
    manifests = read_code(module)
    if image is not None:
        manifests = [with_workers(item, image, replicas) for item in manifests]
    _warn(manifests)
    _check_manifests(manifests)
    file = output or check
    chosen = [item.document for item in choose_types(manifests) if types or item.is_agent]
    texts = {file: _dump(chosen, form or _form_of(file))}
    if asyncapi is not None:
        agents = [item.code for item in manifests if item.is_agent]
        texts[asyncapi] = _dump([build_asyncapi(agents)], _form_of(asyncapi))
    if check is None:
        _write(texts)
    elif changes := "".join(_find_changes(path, text) for path, text in texts.items() if path):
        click.echo(changes, nl=False)
        click.echo(paint(f"not current; run heed build {visible(module)}", "red"), err=True)
        raise click.exceptions.Exit(1)


def _warn(manifests: Sequence[CodeManifest]) -> None:
    for manifest in manifests:
        for problem in lint_code(manifest.code) if manifest.is_agent else ():
            place = f"{manifest.source}:{manifest.line_of(problem.path)}"
            click.echo(f"{visible(place)}: warning: {visible(str(manifest.attribute(problem)))}", err=True)


def _check_manifests(manifests: Sequence[CodeManifest]) -> None:
    """Raise InvalidManifest for what the operator would refuse, with the lines of the code.

    Where CEL is not installed, as beside a worker, nothing is checked, which is told.
    """
    if find_spec("cel_expr_python") is None:
        click.echo("not checked, as that needs more: pip install 'heed[dev]'", err=True)
        return
    from heed.cli.manifest_files import load_agent
    from heed.local.policy_loader import load_policies

    rules, mistakes = load_policies(choose_types(manifests))
    problems: list[Problem] = []
    for manifest in manifests:
        if manifest.is_agent:
            try:
                load_agent(manifest, rules)
            except InvalidManifest as error:
                problems.extend(manifest.locate(error.problems).problems)
    for rule, problem in mistakes:
        problems.extend(rule.locate([problem]).problems)
    if problems:
        raise InvalidManifest(problems)


def _form_of(file: Path | None) -> Form:
    return "json" if file is not None and file.suffix == ".json" else "yaml"


def _dump(documents: Sequence[Mapping[str, Any]], form: Form) -> str:
    if form == "yaml":
        return "---\n".join(map(to_yaml, documents))
    one: Any = (
        {"apiVersion": "v1", "kind": "List", "items": documents} if len(documents) > 1 else documents[0]
    )
    return json.dumps(one, indent=2, ensure_ascii=False) + "\n"


def _write(texts: Mapping[Path | None, str]) -> None:
    for path, text in texts.items():
        if path is None:
            click.echo(text, nl=False)
        else:
            path.write_text(text, encoding="utf-8")
            click.echo(f"wrote {visible(str(path))}", err=True)


def _find_changes(path: Path, text: str) -> str:
    """How a file differs from what it should be, as a diff; nothing where it is current."""
    try:
        found = path.read_text(encoding="utf-8") if path.exists() else ""
    except UnicodeDecodeError:
        raise InvalidSettings(f"{path}: is not UTF-8; is it the right file?") from None
    lines = difflib.unified_diff(
        found.splitlines(keepends=True), text.splitlines(keepends=True), str(path), "heed build"
    )
    return "".join(line if line.endswith("\n") else f"{line}\n" for line in lines)
