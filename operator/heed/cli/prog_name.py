"""How to call this program again."""

import os
import shutil
import sys
from pathlib import Path
from typing import Final

DEFAULT_PROG_NAME: Final = "heed"
PLUGIN_NAME: Final = "kubectl-heed"  # what kubectl runs for `kubectl heed`


def program_name() -> str:
    """What to type for `heed`: the name where it is on PATH, else the path that it was called by, or a shorter one."""
    called = Path(sys.argv[0])
    if called.name == PLUGIN_NAME:
        return PLUGIN_NAME.replace("-", " ")
    if shutil.which(DEFAULT_PROG_NAME) or called.name != DEFAULT_PROG_NAME or not called.is_file():
        return DEFAULT_PROG_NAME
    here = os.path.relpath(called)
    near = here if os.sep in here else os.path.join(os.curdir, here)
    return min(near, str(called.absolute()), key=len)
