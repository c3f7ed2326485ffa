"""The command line as a whole: quick help, clear errors, honest exit codes."""

import os
import signal
import subprocess
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import NoReturn

import pytest
from click.testing import CliRunner, Result

from heed import __version__
from heed.cli.main import COMMANDS, main
from heed.cli.output import paint
from heed.cli.prog_name import program_name
from heed.errors import InvalidManifest, LedgerConflict, Problem
from heed.util.terminal import visible

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "operator")}
HEED = [sys.executable, "-c", "from heed.cli.main import main; main(prog_name='heed')"]


def heed(*arguments: str, **options: object) -> Result:
    return CliRunner().invoke(main, arguments, **options)  # type: ignore[arg-type]


def break_with(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def check(paths: object) -> NoReturn:
        raise error

    monkeypatch.setattr("heed.cli.validate.check_files", check)


def test_help_teaches() -> None:
    result = heed("--help")

    assert result.exit_code == 0
    assert "Heed runs event-driven agents on Kubernetes" in result.stdout
    assert "heed simulate -f agent.yaml events.jsonl" in result.stdout
    assert [title for title in COMMANDS if f"{title}:" in result.stdout] == list(COMMANDS)


def test_help_imports_no_command() -> None:
    program = (
        "import sys; from heed.cli.main import main; "
        "main(['--help'], standalone_mode=False); print(sorted(sys.modules))"
    )

    shown = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=ENVIRONMENT
    )

    assert not [
        name for name in ("pydantic", "yaml", "kopf", "nats", "asyncio") if f"'{name}'" in shown.stdout
    ]


@pytest.mark.parametrize("name", [name for section in COMMANDS.values() for name in section])
def test_each_command_has_the_name_of_its_file_and_help(name: str) -> None:
    result = heed(name, "--help")

    assert result.exit_code == 0, result.output
    assert result.stdout.startswith(f"Usage: main {name} ")


def test_version() -> None:
    assert heed("--version").stdout == f"heed, version {__version__}\n"


def test_an_unknown_command_is_a_usage_error_that_says_what_was_meant() -> None:
    result = heed("valdate")

    assert result.exit_code == 2
    assert "No such command 'valdate'" in result.stderr
    assert "validate" in result.stderr


def test_a_command_whose_package_is_missing_says_so_and_leaves_others_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delitem(sys.modules, "heed.cli.completion", raising=False)
    monkeypatch.setitem(sys.modules, "click.shell_completion", None)

    result = heed("completion", "bash")

    assert result.exit_code == 1
    assert (
        result.stderr == "heed completion needs the Python package click.shell_completion; install it first\n"
    )
    assert heed("--help").exit_code == 0


def test_an_error_of_heed_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    break_with(monkeypatch, LedgerConflict("the ledger was written by \x1b[2Jsomeone else"))

    result = heed("validate", "x")

    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "the ledger was written by \\u001b[2Jsomeone else\n"


def test_a_bad_manifest_gives_all_its_problems(monkeypatch: pytest.MonkeyPatch) -> None:
    break_with(
        monkeypatch, InvalidManifest([Problem("spec", "is odd", "mend it"), Problem("kind", "is bad")])
    )

    result = heed("validate", "x")

    assert (result.exit_code, result.stderr) == (1, "spec: is odd; mend it\nkind: is bad\n")


def test_a_traceback_comes_only_on_request(monkeypatch: pytest.MonkeyPatch) -> None:
    break_with(monkeypatch, ZeroDivisionError("division"))

    quiet, loud = heed("validate", "x"), heed("validate", "x", env={"HEED_DEBUG": "1"})

    assert (quiet.exit_code, loud.exit_code) == (1, 1)
    assert "Traceback" not in quiet.stderr
    assert "heed broke: ZeroDivisionError: division" in quiet.stderr
    assert "Traceback" in loud.stderr


def test_an_interrupt_exits_with_130(monkeypatch: pytest.MonkeyPatch) -> None:
    break_with(monkeypatch, KeyboardInterrupt())

    result = heed("validate", "x")

    assert (result.exit_code, result.output) == (130, "")


def test_a_real_interrupt_exits_with_130() -> None:
    def interruptible() -> None:
        signal.signal(
            signal.SIGINT, signal.SIG_DFL
        )  # a background job of a shell ignores it, and so would its child

    with subprocess.Popen(
        [*HEED, "validate", "-f", "-"],
        env=ENVIRONMENT,
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=interruptible,
    ) as child:
        assert child.stdin is not None and child.stderr is not None
        child.stdin.write(b"#" * 300_000)  # more than a pipe holds: when this returns, the child is reading
        child.stdin.flush()
        child.send_signal(signal.SIGINT)
        child.stdin.close()  # a signal that comes between two reads is noticed only after the second
        child.wait()
        assert child.returncode == 130
        assert child.stderr.read() == b""


def test_a_closed_pipe_is_no_error_to_speak_of() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as pipe:
        done = subprocess.run(
            [*HEED, "completion", "bash"], env=ENVIRONMENT, stdout=pipe, stderr=subprocess.PIPE
        )

    assert done.stderr == b""


def test_colours_come_only_to_terminals_and_never_with_no_color(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    missing = str(tmp_path / "none")

    assert "\x1b" not in heed("validate", "-f", missing).output
    assert "\x1b[31m" in heed("validate", "-f", missing, color=True).output
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in heed("validate", "-f", missing, color=True).output
    assert paint("x", "red") == "x"


def test_text_from_outside_cannot_steer_the_terminal() -> None:
    assert visible("a\x1b[2J\x9b\u202eb\n") == "a\\u001b[2J\\u009b\\u202eb\n"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script_that_says_how_to_install_it(shell: str) -> None:
    result = heed("completion", shell)

    assert result.exit_code == 0
    assert f"# To install: heed completion {shell} >" in result.stdout
    assert f"_HEED_COMPLETE={shell}_complete" in result.stdout


def test_a_shell_can_complete_commands() -> None:
    variables = {"_HEED_COMPLETE": "bash_complete", "COMP_WORDS": "heed op", "COMP_CWORD": "1"}

    done = subprocess.run(HEED, env=ENVIRONMENT | variables, capture_output=True, text=True, check=False)

    assert done.stdout == "plain,operator\n"


def test_the_operator_takes_options_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    from heed.settings import Settings

    seen: list[Settings] = []

    async def run_operator(settings: Settings) -> None:
        seen.append(settings)

    monkeypatch.setattr("heed.kube.manager.run_operator", run_operator)
    monkeypatch.setattr("heed.logging.configure_logging", lambda form, level: None)
    environment = {"HEED_NATS_URL": "nats://a", "HEED_NAMESPACE": "demo", "HEED_BATCH": "7"}

    result = heed(
        "operator", "--nats", "nats://b", "--log-format", "json", "--health-port", "0", env=environment
    )

    assert result.exit_code == 0, result.output
    assert seen == [
        Settings(nats_url="nats://b", namespace="demo", batch=7, log_format="json", health_port=0)
    ]


@pytest.mark.parametrize(
    ("arguments", "environment", "code"),
    [
        (["--health-port", "x"], {}, 2),
        ([], {"HEED_LOG_FORMAT": "xml"}, 2),
        ([], {"HEED_BATCH": "many"}, 2),
    ],
)
def test_the_operator_refuses_bad_settings(
    arguments: list[str], environment: dict[str, str], code: int
) -> None:
    result = heed("operator", *arguments, env=environment)

    assert result.exit_code == code
    assert "Traceback" not in result.output


def test_a_path_that_cannot_be_used_is_no_bug_of_heed() -> None:
    result = heed("crds", "--output", "/proc/none/crds")

    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("/proc/none")
    assert "give a path that can be used" in result.stderr and "broke" not in result.stderr


def test_the_folder_of_dev_has_to_be_one_that_can_be_made(tmp_path: Path) -> None:
    (tmp_path / "agent.yaml").write_text("kind: Agent\n")

    result = heed("dev", "-f", str(tmp_path / "agent.yaml"), "--dir", "/proc/none")

    assert result.exit_code == 1
    assert "/proc/none" in result.stderr and "broke" not in result.stderr


@pytest.mark.parametrize(
    ("called", "path", "typed"),
    [
        ("bin/heed", "", "bin/heed"),
        ("bin/heed", "bin", "heed"),
        ("heed", "", "heed"),
        ("bin/python", "", "heed"),
    ],
)
def test_next_steps_name_the_program_as_it_was_called(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, called: str, path: str, typed: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bin").mkdir()
    for name in ("heed", "python"):
        (tmp_path / "bin" / name).touch(0o755)
    monkeypatch.setattr(sys, "argv", [str(tmp_path / called) if "/" in called else called])
    monkeypatch.setenv("PATH", str(tmp_path / path) if path else "")

    assert program_name() == typed


@pytest.mark.parametrize("timeout", ["-1", "0"])
def test_demo_waits_for_a_time_that_can_pass(timeout: str) -> None:
    result = heed("demo", "--timeout", timeout)

    assert result.exit_code == 2
    assert "is not in the range x>0" in result.stderr


def test_an_interrupted_demo_ends_like_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(work: Coroutine[object, object, None]) -> NoReturn:
        work.close()
        raise KeyboardInterrupt

    monkeypatch.setattr("heed.cli.demo.asyncio.run", interrupt)

    result = heed("demo")

    assert (result.exit_code, result.output) == (130, "")


@pytest.mark.parametrize(("process", "ends"), [(1, True), (2, False)])
def test_as_the_first_process_of_a_container_it_ends_with_sigterm_while_it_starts(
    monkeypatch: pytest.MonkeyPatch, process: int, ends: bool
) -> None:
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(os, "getpid", lambda: process)
    try:
        CliRunner().invoke(main, ["--version"])
        handler = signal.getsignal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)

    assert (handler != before) is ends
    if ends:
        assert callable(handler)
        with pytest.raises(SystemExit) as ended:
            handler(signal.SIGTERM, None)
        assert ended.value.code == 143
