"""`heed suspend` and `heed resume`: which Agents are written, and what is told of each."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.shell_completion import ShellComplete

from heed.cli.cluster import ClusterChoice
from heed.cli.main import main
from heed.cli.suspension import AgentChoice, SuspendOutcome, SuspendReport, set_suspend
from heed.core.compiler.audience import Listener
from heed.kube.client.client import ApiError, KubeApi
from heed.local import presence
from tests.unit.apiserver import ApiServer
from tests.unit.cli import heed
from tests.unit.fleets import path

Reports = list[SuspendReport]


def add(server: ApiServer, name: str, namespace: str = "demo", **spec: Any) -> None:
    server.add(path(name, namespace), spec={"handlers": [], **spec})


def writes(server: ApiServer) -> list[dict[str, Any]]:
    return server.bodies


# --- what is written ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suspend", [True, False])
async def test_nothing_but_suspend_is_written_and_only_where_it_is_otherwise(
    server: ApiServer, suspend: bool
) -> None:
    add(server, "a", suspend=not suspend)
    add(server, "b", suspend=suspend)
    chosen = AgentChoice("demo", ("a", "b"))

    first = await set_suspend(server.connect(KubeApi), chosen, suspend)
    again = await set_suspend(server.connect(KubeApi), chosen, suspend)

    done: SuspendOutcome = "suspended" if suspend else "resumed"
    assert first == [SuspendReport("demo", "a", done), SuspendReport("demo", "b", "unchanged")]
    assert again == [SuspendReport("demo", "a", "unchanged"), SuspendReport("demo", "b", "unchanged")]
    assert writes(server) == [{"spec": {"suspend": suspend}}]
    assert server.at(path("a"))["spec"] == {"handlers": [], "suspend": suspend}


async def test_one_that_never_was_suspended_is_resumed_already(server: ApiServer) -> None:
    add(server, "a")

    assert await set_suspend(server.connect(KubeApi), AgentChoice("demo", ("a",)), False) == [
        SuspendReport("demo", "a", "unchanged")
    ]
    assert writes(server) == []


@pytest.mark.parametrize(("namespace", "found"), [("demo", ["a", "b"]), (None, ["a", "b", "c"])])
async def test_all_of_a_namespace_or_of_all_of_them(
    server: ApiServer, namespace: str | None, found: list[str]
) -> None:
    for name, place in (("a", "demo"), ("b", "demo"), ("c", "other")):
        add(server, name, place)

    reports = await set_suspend(server.connect(KubeApi), AgentChoice(namespace), True)

    assert [(report.name, report.outcome) for report in reports] == [(name, "suspended") for name in found]


async def test_a_selector_is_left_to_the_server(server: ApiServer) -> None:
    await set_suspend(server.connect(KubeApi), AgentChoice("demo", selector="team=research"), True)

    assert [asked for _, asked in server.asked] == [
        "/apis/heed.dev/v1alpha1/namespaces/demo/agents?labelSelector=team%3Dresearch&limit=500"
    ]


async def test_one_that_is_missing_or_refused_does_not_keep_the_others(server: ApiServer) -> None:
    for name in "ab":
        add(server, name)
    server.refuse = lambda method, asked: 403 if method == "PATCH" and asked.endswith("/a") else None

    reports = await set_suspend(server.connect(KubeApi), AgentChoice("demo", ("gone", "a", "b")), True)

    assert [(report.name, report.outcome) for report in reports] == [
        ("gone", "missing"),
        ("a", "refused"),
        ("b", "suspended"),
    ]
    assert [report.is_bad for report in reports] == [True, True, False]
    assert reports[1].message == "no 403"


async def test_agents_that_cannot_be_listed_are_an_error(server: ApiServer) -> None:
    server.refuse = lambda method, asked: 403

    with pytest.raises(ApiError):
        await set_suspend(server.connect(KubeApi), AgentChoice("demo"), True)


# --- what is typed --------------------------------------------------------------------------------------------


class Cluster:
    """Stands in for the cluster: notes what is asked of it, and answers with these reports."""

    def __init__(self) -> None:
        self.asked: list[tuple[AgentChoice, bool]] = []
        self.reports: Reports = []

    async def answer(self, api: object, chosen: AgentChoice, suspend: bool) -> Reports:
        self.asked.append((chosen, suspend))
        return self.reports


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Cluster:
    found = Cluster()

    def run(self: ClusterChoice, work: Callable[[Any], Awaitable[Reports]]) -> Reports:
        async def working() -> Reports:
            return await work(None)

        return asyncio.run(working())

    monkeypatch.setattr("heed.cli.suspension.set_suspend", found.answer)
    monkeypatch.setattr(ClusterChoice, "run", run)
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig(tmp_path)))
    monkeypatch.chdir(tmp_path)
    return found


def kubeconfig(folder: Path) -> Path:
    """Two contexts, of which one names a namespace."""
    contexts = [
        {"name": "plain", "context": {"cluster": "c", "user": "u"}},
        {"name": "team", "context": {"cluster": "c", "user": "u", "namespace": "research"}},
    ]
    file = folder / "kubeconfig"
    clusters = [{"name": "c", "cluster": {"server": "http://127.0.0.1:1"}}]
    users = [{"name": "u", "user": {}}]
    config = {"current-context": "plain", "contexts": contexts, "clusters": clusters, "users": users}
    file.write_text(json.dumps({"apiVersion": "v1", "kind": "Config", **config}))
    return file


@pytest.mark.parametrize(
    ("arguments", "chosen"),
    [
        (["a", "b", "a", "-n", "demo"], AgentChoice("demo", ("a", "b"))),
        (["--all", "-n", "demo"], AgentChoice("demo")),
        (["--all", "-A"], AgentChoice(None)),
        (["-l", "team=x", "-n", "demo"], AgentChoice("demo", (), "team=x")),
        (["--all", "-A", "-l", "team=x"], AgentChoice(None, (), "team=x")),
    ],
)
@pytest.mark.parametrize(("command", "suspend"), [("suspend", True), ("resume", False)])
def test_which_agents_are_meant(
    cluster: Cluster, command: str, suspend: bool, arguments: list[str], chosen: AgentChoice
) -> None:
    result = heed(command, *arguments)

    assert result.exit_code == 0
    assert cluster.asked == [(chosen, suspend)]


@pytest.mark.parametrize(
    ("options", "namespace"),
    [([], "default"), (["--context", "team"], "research"), (["--context", "team", "-n", "demo"], "demo")],
)
def test_the_namespace_is_that_of_the_context(cluster: Cluster, options: list[str], namespace: str) -> None:
    heed("suspend", "a", *options)

    assert cluster.asked == [(AgentChoice(namespace, ("a",)), True)]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "Say which Agents: name them, or say --all"),
        (["a", "--all"], "Not both: say which Agents"),
        (["a", "-l", "team=x"], "Not both: say which Agents"),
        (["a", "-A"], "Not both: names are those of one namespace"),
        (["../x"], "'../x': not the name of an Agent"),
        (["a", "-n", "A B"], "--namespace 'A B': not a Kubernetes name"),
    ],
)
def test_what_is_no_choice_is_said_before_any_cluster_is_asked(
    cluster: Cluster, arguments: list[str], said: str
) -> None:
    result = heed("suspend", *arguments)

    assert result.exit_code == 2
    assert said in result.output
    assert cluster.asked == []


def test_what_became_of_each_is_told_and_what_is_bad_fails(cluster: Cluster) -> None:
    cluster.reports = [
        SuspendReport("demo", "a", "suspended"),
        SuspendReport("demo", "b", "unchanged"),
        SuspendReport("demo", "c", "missing", "not found"),
        SuspendReport("demo", "d", "refused", "no right"),
    ]

    result = heed("suspend", "a", "b", "c", "d", "-n", "demo")

    assert result.exit_code == 1
    assert result.stdout.splitlines() == ["agent demo/a suspended", "agent demo/b is so already"]
    assert result.stderr.splitlines() == [
        "agent demo/c does not exist; `kubectl get agents -n demo` shows which there are",
        "agent demo/d: no right",
    ]
    told = heed("suspend", "a", "-n", "demo", "-o", "json")
    assert json.loads(told.stdout)[1] == {
        "namespace": "demo",
        "name": "b",
        "outcome": "unchanged",
        "message": None,
    }
    assert told.exit_code == 1


@pytest.mark.parametrize(
    ("options", "where"), [(["-n", "demo"], "in namespace demo"), (["-A"], "in any namespace")]
)
def test_that_there_is_none_is_said_and_is_no_failure(
    cluster: Cluster, options: list[str], where: str
) -> None:
    result = heed("resume", "--all", *options)

    assert result.exit_code == 0
    assert result.stderr.startswith(f"there is no such Agent {where}; ")


# --- beside a heed dev ----------------------------------------------------------------------------------------


@pytest.fixture
def dev(cluster: Cluster, tmp_path: Path) -> Iterator[Path]:
    """This process is a `heed dev` of the folder, with one Agent."""
    folder = tmp_path / presence.STATE_FOLDER
    folder.mkdir()
    listener = Listener("default", "local", (("default", "com.example.>"),), ("com.example.>",))
    presence.write(presence.own_presence(folder, "nats://127.0.0.1:1", None, [listener]))
    yield folder
    presence.remove(folder)


@pytest.mark.parametrize(
    ("command", "line"),
    [("suspend", "write `suspend: true` under `spec:`"), ("resume", "remove `suspend` from `spec:`")],
)
@pytest.mark.parametrize("agents", [["local"], ["other", "local"], ["--all"], ["-l", "team=x"]])
def test_agents_of_a_heed_dev_are_files(
    cluster: Cluster, dev: Path, command: str, line: str, agents: list[str]
) -> None:
    result = heed(command, *agents)

    assert result.exit_code == 1
    assert line in result.stderr
    assert str(dev) in result.stderr
    assert cluster.asked == []


@pytest.mark.parametrize("arguments", [["other"], ["local", "--context", "plain"]])
def test_others_are_those_of_a_cluster(cluster: Cluster, dev: Path, arguments: list[str]) -> None:
    result = heed("suspend", *arguments)

    assert result.exit_code == 0
    assert len(cluster.asked) == 1


# --- what a shell completes -----------------------------------------------------------------------------------


class Listing:
    """Stands in for the cluster: Agents by the path that lists them."""

    async def list(self, path: str) -> list[dict[str, Any]]:
        agents = {
            "/apis/heed.dev/v1alpha1/namespaces/demo/agents": [("writer", False), ("reader", True)],
            "/apis/heed.dev/v1alpha1/namespaces/other/agents": [("reaper", False)],
        }
        return [{"metadata": {"name": name}, "spec": {"suspend": suspend}} for name, suspend in agents[path]]


@pytest.mark.parametrize("command", ["suspend", "resume"])
@pytest.mark.parametrize(
    ("namespace", "incomplete", "offered"),
    [
        ("demo", "", [("reader", "suspended"), ("writer", None)]),
        ("demo", "w", [("writer", None)]),
        ("other", "rea", [("reaper", None)]),
    ],
)
def test_agents_of_the_namespace_are_completed(
    monkeypatch: pytest.MonkeyPatch,
    command: str,
    namespace: str,
    incomplete: str,
    offered: list[tuple[str, str | None]],
) -> None:
    async def answered(work: Callable[[Any], Awaitable[Any]]) -> Any:
        return await work(Listing())

    def run(self: ClusterChoice, work: Callable[[Any], Awaitable[Any]]) -> Any:
        return asyncio.run(answered(work))

    monkeypatch.setattr(ClusterChoice, "run", run)
    shell = ShellComplete(main, {}, "heed", "_HEED_COMPLETE")

    found = shell.get_completions([command, "-n", namespace], incomplete)

    assert [(item.value, item.help) for item in found] == offered


@pytest.mark.parametrize("command", ["suspend", "approve", "approvals link"])
def test_without_a_cluster_nothing_is_completed_and_nothing_said(tmp_path: Path, command: str) -> None:
    words = f"heed {command} "
    variables = {
        "_HEED_COMPLETE": "bash_complete",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split())),
    }
    code = "from heed.cli.main import main; main(prog_name='heed')"
    environment = {**os.environ, **variables, "KUBECONFIG": str(tmp_path / "missing"), "HOME": str(tmp_path)}

    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.stdout.strip(), done.stderr) == ("", "")
