"""The operator's image, as it runs in its pod."""

from __future__ import annotations

import json

import pytest

from tests.e2e.cluster import Cluster, CommandFailed
from tests.e2e.release import NAMESPACE, Release

LOOK = """
import importlib.util, json, os, shutil
tools = ("gcc", "cc", "ld", "make", "pip", "pip3", "git", "curl", "wget")
print(json.dumps({
    "user": os.getuid(),
    "tools": [tool for tool in tools if shutil.which(tool)],
    "modules": [name for name in ("pip", "setuptools", "pytest") if importlib.util.find_spec(name)],
    "writable": [path for path in ("/", "/opt/heed", "/etc", "/usr/bin", "/tmp") if os.access(path, os.W_OK)],
    "words": open("/proc/1/cmdline").read().split(chr(0))[1:3],
}))
"""


def test_it_has_no_root_no_tools_and_nothing_to_write_to(cluster: Cluster, release: Release) -> None:
    pod = release.pods()[0]["metadata"]["name"]

    seen = json.loads(cluster.kubectl("exec", "-n", NAMESPACE, pod, "--", "python3", "-c", LOOK))

    assert seen == {
        "user": 65532,
        "tools": [],
        "modules": [],
        "writable": ["/tmp"],
        "words": ["/opt/heed/bin/heed", "operator"],
    }


def test_a_pod_that_is_not_restricted_is_refused(cluster: Cluster, release: Release) -> None:
    with pytest.raises(CommandFailed, match="violates PodSecurity"):
        cluster.kubectl("run", "loose", "-n", NAMESPACE, "--image=heed:e2e", "--restart=Never")
