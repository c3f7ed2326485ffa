"""Pin what pyproject.toml asks for, with hashes: one file per purpose, all from one resolution.

`lock.py` rewrites the files, `lock.py --check` says whether pyproject.toml has changed since then.
Versions that are pinned already stay as they are; `lock.py --upgrade` takes the newest that fit.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

HERE = Path(__file__).resolve().parent
DIGEST = HERE / "inputs.sha256"
EVERYTHING = "lock"
COMPILE = [
    *("--quiet", "--generate-hashes", "--allow-unsafe", "--strip-extras", "--no-header"),
    *("--no-emit-index-url", "--no-emit-trusted-host", "--no-emit-find-links", "--no-emit-options"),
]


def wanted() -> dict[str, list[str]]:
    """What each set asks for directly. From `runtime` to `mutants`, each contains those before it, but `coverage`."""
    document = tomllib.loads((HERE.parent / "pyproject.toml").read_text())
    project, groups = document["project"], document["dependency-groups"]
    build = document["build-system"]["requires"]
    extras = project["optional-dependencies"]
    runtime = [*project["dependencies"], *extras["operator"]]
    demo = [*runtime, *build, *extras["dev"]]
    test = [*demo, *groups["test"]]
    check = [*test, *groups["check"]]
    coverage = [*test, *groups["coverage"]]
    mutants = [*check, *groups["mutants"]]
    docs, package = groups["docs"], groups["package"]
    return {
        "build": build,
        "runtime": runtime,
        "demo": demo,
        "test": test,
        "check": check,
        "coverage": coverage,
        "mutants": mutants,
        "docs": [*build, *docs],
        "package": [*build, *package],
        EVERYTHING: [*mutants, *groups["coverage"], *docs, *package, *groups["lock"]],
    }


def digest() -> str:
    """A fingerprint of everything that the pinned sets are made from."""
    return hashlib.sha256(json.dumps(wanted(), sort_keys=True).encode()).hexdigest()


def compile_set(folder: Path, name: str, requirements: list[str], options: list[str]) -> None:
    """Have pip-compile write NAME.txt in a folder; pins that it finds there stay, but for --upgrade."""
    (folder / f"{name}.in").write_text("\n".join(requirements) + "\n")
    command = [sys.executable, "-m", "piptools", "compile", *COMPILE, *options]
    subprocess.run([*command, "--output-file", f"{name}.txt", f"{name}.in"], cwd=folder, check=True)


def lock(upgrade: bool) -> None:
    """Write every set, and the fingerprint of what they were made from."""
    sets = wanted()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        everything = folder / f"{EVERYTHING}.txt"
        if (HERE / everything.name).exists():
            shutil.copy(HERE / everything.name, everything)
        compile_set(folder, EVERYTHING, sets.pop(EVERYTHING), ["--upgrade"] if upgrade else [])
        for name, requirements in sets.items():
            # pip-compile keeps the pins (and hashes) that it finds in its output file.
            shutil.copy(everything, folder / f"{name}.txt")
            compile_set(folder, name, requirements, [])
        for written in sorted(folder.glob("*.txt")):
            (HERE / written.name).write_text(written.read_text())
            print(f"wrote requirements/{written.name}")
    DIGEST.write_text(digest() + "\n")


def check() -> int:
    """Whether the sets are current, as an exit code."""
    if DIGEST.exists() and DIGEST.read_text().strip() == digest():
        return 0
    print("pyproject.toml's dependencies have changed since requirements/ was written: run `make lock`")
    return 1


def main() -> int:
    """The command line; its exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--check", action="store_true", help="only say whether the files are current")
    parser.add_argument("--upgrade", action="store_true", help="take the newest versions that fit")
    arguments = parser.parse_args()
    if arguments.check:
        return check()
    lock(arguments.upgrade)
    return 0


if __name__ == "__main__":
    sys.exit(main())
