"""What a release is made of: one version, written in pyproject.toml, and its section of CHANGELOG.md.

    release.py version [--check]   write the version wherever else it stands, or say where it is another one
    release.py tag v0.1.0          is this the tag of this version, and does the changelog tell of it?
    release.py notes               what the changelog says of this version
    release.py chart REPOSITORY    let the chart take its image from there by default

Needs nothing but the standard library.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NUMBERS = re.compile(r"\d+\.\d+\.\d+")
# Where the version stands besides pyproject.toml; {} is its place in a line.
PLACES = (
    ("operator/heed/__init__.py", '__version__ = "{}"'),
    ("charts/heed/Chart.yaml", "version: {}"),
    ("charts/heed/Chart.yaml", "appVersion: {}"),
    ("Dockerfile", "ARG VERSION={}"),
    ("README.md", "make image IMAGE=registry.example.com/heed:{}"),
    ("docs/operations.md", "make image IMAGE=registry.example.com/heed:{}"),
)


class Unfit(Exception):
    """Something is not as a release needs it; the message says what to do."""


def version(root: Path = ROOT) -> str:
    """The version of pyproject.toml. Raises Unfit."""
    found: str = tomllib.loads((root / "pyproject.toml").read_text())["project"]["version"]
    if not NUMBERS.fullmatch(found):
        # Python and Helm write pre-releases differently: one text could not serve both.
        raise Unfit(f"pyproject.toml: version {found}: write three numbers, as in 1.2.3")
    return found


def written(text: str, pattern: str, wanted: str) -> str:
    """The text with the wanted version at this place. Raises Unfit where the place is missing, or not the only one."""
    before, after = map(re.escape, pattern.split("{}"))
    new, count = re.subn(
        rf"^{before}[\w.+-]+{after}$", lambda _: pattern.format(wanted), text, flags=re.MULTILINE
    )
    if count != 1:
        raise Unfit(f"`{pattern.format(wanted)}` has to be there once, and is there {count} times")
    return new


def spread(check: bool, root: Path = ROOT) -> list[str]:
    """Write the version to its places; with `check` only say which are not current. Raises Unfit."""
    wanted, stale = version(root), []
    for name, pattern in PLACES:
        path = root / name
        try:
            new = written(old := path.read_text(), pattern, wanted)
        except Unfit as error:
            raise Unfit(f"{name}: {error}") from None
        if new != old:
            stale.append(f"{name}: `{pattern.format(wanted)}` is not there")
            if not check:
                path.write_text(new)
    return stale


def notes(changelog: str, wanted: str) -> str:
    """The changelog's section of a version, without its heading. Raises Unfit."""
    heading = rf"^## \[{re.escape(wanted)}\] - \d{{4}}-\d\d-\d\d\n"
    found = re.search(rf"{heading}(.*?)(?=^## |^\[[^\]]+\]: |\Z)", changelog, re.MULTILINE | re.DOTALL)
    if not found or not found[1].strip():
        raise Unfit(
            f"CHANGELOG.md: give the version a section, `## [{wanted}] - YYYY-MM-DD`, that says what is new"
        )
    return found[1].strip() + "\n"


def check_tag(tag: str, wanted: str) -> None:
    """Raises Unfit."""
    if tag != f"v{wanted}":
        raise Unfit(
            f"the tag is {tag}, and pyproject.toml says {wanted}: tag v{wanted}, or change the version"
        )


def with_image(values: str, repository: str) -> str:
    """The chart's values with this image as their default. Raises Unfit."""
    new, count = re.subn(
        r"(?m)^(image:\n(?:  .*\n)*?  repository: )\S+$", lambda found: found[1] + repository, values
    )
    if count != 1:
        raise Unfit("charts/heed/values.yaml does not begin its image with a repository any more")
    return new


def run(arguments: Iterable[str]) -> int:
    """Raises Unfit."""
    changelog = ROOT / "CHANGELOG.md"
    match list(arguments):
        case ["version"]:
            spread(check=False)
        case ["version", "--check"]:
            if stale := spread(check=True):
                raise Unfit("\n".join([*stale, "run `make generate`"]))
        case ["tag", tag]:
            check_tag(tag, version())
            notes(changelog.read_text(), version())
        case ["notes"]:
            sys.stdout.write(notes(changelog.read_text(), version()))
        case ["chart", repository]:
            values = ROOT / "charts/heed/values.yaml"
            values.write_text(with_image(values.read_text(), repository))
        case _:
            print(__doc__, file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    try:
        sys.exit(run(sys.argv[1:]))
    except Unfit as error:
        sys.exit(str(error))
