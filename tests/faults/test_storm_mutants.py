"""The broken operators that a storm's judge has to find out can be had: what each one breaks is there to be broken.

That they are found out `python -m tests.faults.storm_mutants` shows, which takes long.
"""

import subprocess
import sys

from tests.faults.storm_mutants import MUTANTS

BREAK_ALL = """
from tests.faults.storm_mutants import MUTANTS
for name, break_it in MUTANTS.items():
    print(name)
    break_it()
"""


def test_every_rule_is_there_to_be_broken() -> None:
    done = subprocess.run([sys.executable, "-c", BREAK_ALL], capture_output=True, text=True)

    assert (done.stdout.split(), done.returncode) == ([*MUTANTS], 0), done.stderr


def test_every_mutant_says_which_rule_it_breaks() -> None:
    assert all((break_it.__doc__ or "").strip().endswith(".") for break_it in MUTANTS.values())
