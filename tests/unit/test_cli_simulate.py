"""`heed simulate` shows what Agents make of events, and holds them to what their author expects."""

import itertools
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import Result
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.cli import heed

RESEARCHER = """\
apiVersion: heed.dev/v1alpha1
kind: Agent
metadata: {name: researcher, namespace: demo}
spec:
  subscribe: [{type: com.example.asked}]
  tasks:
    research:
      job: {template: {spec: {containers: [{name: main, image: "a:1", args: ["${input.topic}"]}]}}}
  handlers:
    - name: begin
      type: com.example.asked
      state: {topic: "${event.data.topic}"}
      start: [{task: research, input: {topic: "${event.data.topic}"}}]
    - name: conclude
      type: dev.heed.task.completed
      state: {answer: "${event.data.result.answer}"}
      emit: [{type: com.example.answered, data: {topic: "${state.topic}", answer: "${state.answer}"}}]
    - name: give-up
      type: dev.heed.task.failed
      emit: [{type: com.example.failed, data: {reason: "${event.data.reason}"}}]
      end: true
    - name: forget
      type: com.example.forget
      cancel: [{task: research}]
"""
SCRIBE = """\
apiVersion: heed.dev/v1alpha1
kind: Agent
metadata: {name: scribe, namespace: demo}
spec:
  subscribe: [{type: com.example.answered}]
  session: {key: "'notes'"}
  handlers:
    - name: note
      type: com.example.answered
      state: {count: "${(has(state.count) ? state.count : 0) + 1}", last: "${event.data.answer}"}
      emit: [{type: com.example.thanks, to: researcher, data: null}]
"""
# Three tasks at once; the answer is there when all of them have ended, in whatever order.
JOINER = """\
apiVersion: heed.dev/v1alpha1
kind: Agent
metadata: {name: joiner}
spec:
  subscribe: [{type: com.example.batch}]
  tasks:
    part: {job: {template: {spec: {containers: [{name: main, image: "a:1"}]}}}}
  handlers:
    - name: split
      type: com.example.batch
      state: {left: "${event.data.parts.size()}", parts: {}}
      start: [{from: "${event.data.parts.map(p, {'task': 'part', 'input': p})}"}]
    - name: gather
      type: dev.heed.task.completed
      state: {left: "${state.left - 1}"}
    - name: part
      type: dev.heed.task.completed
      state: "${{'part-' + input: event.data.result}}"
    - name: join
      type: dev.heed.task.completed
      when: state.left == 0
      emit: [{type: com.example.joined}]
"""
ASKED = '{"type": "com.example.asked", "data": {"topic": "tides"}}\n'
ANSWER = ("--complete", 'research={"answer": "42"}')


class Bench:
    """A folder with an Agent's manifest and events."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.agents, self.events = RESEARCHER, ASKED

    def file(self, name: str, text: str) -> str:
        path = self.folder / name
        path.write_text(text)
        return str(path)

    def run(self, *options: str) -> Result:
        agents, events = self.file("agents.yaml", self.agents), self.file("events.jsonl", self.events)
        return heed("simulate", "-f", agents, events, *options)

    def json(self, *options: str) -> dict[str, Any]:
        result = self.run(*options, "-o", "json")
        assert result.exit_code == 0, result.output
        report: dict[str, Any] = json.loads(result.stdout)
        return report

    def expect(self, expectation: str, *options: str) -> Result:
        return self.run(*options, "--expect", self.file("expect.yaml", expectation))


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_the_story_is_told_step_by_step(bench: Bench) -> None:
    result = bench.run(*ANSWER)

    assert result.exit_code == 0
    lines = [" ".join(line.split()) for line in result.stdout.splitlines()]
    assert lines[0] == "#1 com.example.asked line-1"
    assert lines[1] == "demo/researcher: handled by begin, session line-1"
    assert lines[2] == 'state + topic: "tides"'
    assert lines[3].startswith("start research-") and lines[3].endswith('{"topic": "tides"}')
    assert lines[4] == "a:1: tides"
    assert lines[5].startswith("#2 dev.heed.task.completed") and lines[5].endswith("(task end)")
    assert 'state + answer: "42"' in lines
    assert any(line.startswith("emit com.example.answered") for line in lines)
    assert "no Agent heeds it" in lines
    assert 'demo/researcher: session line-1 remembers {"topic": "tides", "answer": "42"}' in lines
    assert "\x1b" not in result.stdout


def test_the_same_events_give_the_same_report_byte_by_byte(bench: Bench) -> None:
    assert bench.run(*ANSWER, "-o", "json").stdout_bytes == bench.run(*ANSWER, "-o", "json").stdout_bytes


def test_yaml_and_json_say_the_same(bench: Bench) -> None:
    assert yaml.safe_load(bench.run(*ANSWER, "-o", "yaml").stdout) == bench.json(*ANSWER)


def test_what_an_event_lacks_is_filled_in(bench: Bench) -> None:
    bench.events = (
        "# a comment\n\n" + ASKED + ASKED.replace("{", '{"time": "2026-05-01T12:00:00+02:00", ', 1) + ASKED
    )

    events = [step["event"] for step in bench.json()["events"]]
    times = [step["time"] for step in bench.json()["events"]]

    assert [event["id"] for event in events] == ["line-3", "line-4", "line-5"]
    assert {event["source"] for event in events} == {"/simulate"}
    assert times == [
        "2026-01-01T00:00:01.000000Z",
        "2026-05-01T10:00:00.000000Z",
        "2026-05-01T10:00:01.000000Z",
    ]
    assert [event["time"] for event in events] == [times[0], "2026-05-01T12:00:00+02:00", times[2]]


def test_sessions_expire_as_time_goes_by(bench: Bench) -> None:
    bench.agents = RESEARCHER.replace("start:", "emit: [] #")
    bench.events = ASKED + ASKED.replace("{", '{"time": "2026-01-03T00:00:00Z", ', 1)

    status = bench.json()["agents"]["demo/researcher"]

    assert status["totals"]["sessionsExpired"] == 1
    assert list(status["sessions"]) == ["line-2"]


def test_a_task_without_an_answer_stays_pending(bench: Bench) -> None:
    (pending,) = bench.json()["pending"]

    assert (pending["agent"], pending["task"], pending["session"]) == (
        "demo/researcher",
        "research",
        "line-1",
    )
    assert "is pending in session line-1; --complete research=JSON would end it" in bench.run().stdout


def test_a_task_may_fail(bench: Bench) -> None:
    report = bench.json("--fail", "research=OutOfLuck")

    assert [event["data"] for event in report["emitted"]] == [{"reason": "OutOfLuck"}]
    assert report["agents"]["demo/researcher"]["sessions"] == {}


def test_a_cancelled_task_ends_as_such(bench: Bench) -> None:
    bench.events = ASKED + '{"type": "com.example.forget", "to": "researcher", "correlationid": "line-1"}'

    report = bench.json()

    assert [event["data"] for event in report["emitted"]] == [{"reason": "Cancelled"}]
    assert report["pending"] == []


def test_a_script_answers_by_condition_and_number_of_times(bench: Bench) -> None:
    script = bench.file(
        "script.yaml",
        "- {task: research, when: input.topic == 'moon', reason: TooFar, message: sorry, exitCode: 3, "
        "cause: OOMKilled, container: main}\n"
        "- {task: research, times: 1, result: {answer: 'once ${session.key} ${event.correlationid}'}}\n"
        "- {task: research, result: {answer: twice}}\n",
    )
    bench.events = ASKED + ASKED.replace("tides", "moon") + ASKED + ASKED

    report = bench.json("--script", script)

    assert [event["data"].get("answer") for event in report["emitted"]] == [
        "once line-1 line-1",
        None,
        "twice",
        "twice",
    ]
    ends = [step["event"]["data"] for step in report["events"] if step["origin"] == "task"]
    assert ends[1] == {
        "task": "research",
        "reason": "TooFar",
        "message": "sorry",
        "exitCode": 3,
        "cause": "OOMKilled",
        "container": "main",
        "attempt": 1,
    }


def test_a_script_may_answer_one_start_whatever_other_rules_answer(bench: Bench) -> None:
    script = bench.file(
        "script.yaml",
        "- {task: research, when: input.topic == 'moon', result: {answer: moon}}\n"
        "- {task: research, run: 3, reason: Unlucky}\n"
        "- {task: research, when: input.topic == 'tides', run: 1, result: {answer: first tides}}\n",
    )
    bench.events = ASKED.replace("tides", "moon") + ASKED * 3

    report = bench.json("--script", script)

    assert [event["data"].get("answer") or event["data"]["reason"] for event in report["emitted"]] == [
        "moon",
        "first tides",
        "Unlucky",
    ]
    assert [task["session"] for task in report["pending"]] == ["line-4"]


def test_a_task_may_end_after_a_given_event(bench: Bench) -> None:
    # Given three questions, and a script by which the first task ends after the third question
    script = bench.file(
        "script.yaml",
        "- {task: research, run: 1, after: line-3, result: {answer: late}}\n"
        "- {task: research, result: {answer: soon}}\n",
    )
    bench.events = ASKED * 3

    # When it is simulated
    report = bench.json("--script", script)

    # Then that end comes after all that came of the third question
    assert [(event["correlationid"], event["data"]["answer"]) for event in report["emitted"]] == [
        ("line-2", "soon"),
        ("line-3", "soon"),
        ("line-1", "late"),
    ]
    assert [step["origin"] for step in report["events"][-3:]] == ["emitted", "task", "emitted"]


def test_a_task_that_is_cancelled_before_its_given_event_ends_once(bench: Bench) -> None:
    script = bench.file("script.yaml", "- {task: research, after: line-3, result: {answer: late}}")
    forget = '{"type": "com.example.forget", "to": "researcher", "correlationid": "line-1"}\n'
    bench.events = ASKED + forget + ASKED.replace("tides", "moon")

    report = bench.json("--script", script)

    ends = [step["event"]["data"] for step in report["events"] if step["origin"] == "task"]
    assert [end.get("reason") or end["result"]["answer"] for end in ends] == ["Cancelled", "late"]
    assert report["pending"] == []


def test_a_task_that_starts_after_its_given_event_ends_at_once(bench: Bench) -> None:
    script = bench.file("script.yaml", "- {task: research, run: 2, after: line-1, result: {answer: x}}")
    bench.events = ASKED * 2

    assert bench.json("--script", script)["emitted"][0]["correlationid"] == "line-2"


def test_options_win_over_the_script(bench: Bench) -> None:
    script = bench.file("script.yaml", "- {task: research, reason: Unlucky}")

    assert bench.json("--script", script, *ANSWER)["emitted"][0]["type"] == "com.example.answered"


def test_agents_cooperate(bench: Bench) -> None:
    bench.agents = f"{RESEARCHER}---\n{SCRIBE}"
    bench.events = ASKED + ASKED

    report = bench.json(*ANSWER)

    assert report["agents"]["demo/scribe"]["sessions"]["notes"]["state"] == {"count": 2, "last": "42"}
    assert report["agents"]["demo/researcher"]["totals"]["ignored"] == 2  # the thanks
    thanks = [step for step in report["events"] if step["event"]["type"] == "com.example.thanks"]
    assert {step["subject"] for step in thanks} == {"heed.inbox.demo.researcher.com.example.thanks"}
    assert [[item["agent"] for item in step["deliveries"]] for step in thanks] == [["demo/researcher"]] * 2


def test_a_task_that_runs_may_say_how_far_it_is_and_end_later(bench: Bench) -> None:
    bench.agents = RESEARCHER + (
        "    - {name: note, type: dev.heed.task.progress, state: {percent: '${event.data.percent}'}}\n"
    )
    said = (
        '{"type": "dev.heed.task.progress", "to": "researcher", "task": "research", "data": {"percent": 40}}'
    )
    ended = (
        '{"type": "dev.heed.task.completed", "to": "researcher", "task": "research", '
        '"data": {"result": {"answer": "the moon"}}}'
    )
    bench.events = f"{ASKED}{said}\n{ended}\n{said}\n"

    report = bench.json()

    agent = report["agents"]["demo/researcher"]
    assert agent["sessions"]["line-1"]["state"] == {"topic": "tides", "answer": "the moon", "percent": 40}
    assert (agent["totals"]["handled"], agent["totals"]["stale"]) == (3, 1)
    assert not [
        task for step in report["events"] for item in step["deliveries"] for task in item["cancelled"]
    ]


def test_an_end_that_another_tells_stops_the_task(bench: Bench) -> None:
    told = (
        '{"type": "dev.heed.task.completed", "to": "researcher", "task": "research", "source": "/someone", '
        '"data": {"result": {"answer": "the moon"}}}'
    )
    bench.events = f"{ASKED}{told}\n"

    report = bench.json()

    (started,) = report["tasks"]
    (delivery,) = report["events"][1]["deliveries"]
    assert delivery["cancelled"] == [started["id"]]
    assert report["agents"]["demo/researcher"]["sessions"]["line-1"]["state"]["answer"] == "the moon"
    assert report["pending"] == []


def test_tasks_that_end_in_another_order_give_the_same_state(bench: Bench) -> None:
    bench.agents = JOINER
    bench.events = '{"type": "com.example.batch", "data": {"parts": ["a", "b", "c", "d"]}}'
    orders, states = set(), []
    for seed in ["", *"12345678"]:
        report = bench.json("--complete", "part=7", *(["--shuffle", seed] if seed else []))
        orders.add(tuple(step["event"]["subject"] for step in report["events"] if step["origin"] == "task"))
        states.append(report["agents"]["default/joiner"]["sessions"]["line-1"]["state"])
        assert [event["type"] for event in report["emitted"]] == ["com.example.joined"]

    assert len(orders) > 3
    assert states == [states[0]] * 9
    assert states[0] == {"left": 0, "parts": {}, **{f"part-{name}": 7 for name in "abcd"}}


def test_an_event_that_cannot_be_decided_becomes_a_letter(bench: Bench) -> None:
    bench.events = '{"type": "com.example.asked"}'

    report = bench.json("--allow-dead-letters")

    assert [(item["code"], item["handler"], item["id"]) for item in report["letters"]] == [
        ("TemplateFailed", "begin", "line-1")
    ]
    assert "dead letter: TemplateFailed in begin: spec.handlers[0].state" in bench.run().stdout


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("asked}]", 'asked, where: event.data.topic == ""}]', "spec.subscribe[0].where was false"),
        (
            "    - name: begin\n",
            "    - name: begin\n      when: 'false'\n",
            "spec.handlers[0].when was false",
        ),
        (
            "type: com.example.asked\n",
            "type: com.example.other\n",
            "no handler has a type that matches com.ex",
        ),
    ],
)
def test_an_ignored_event_is_explained(bench: Bench, old: str, new: str, why: str) -> None:
    bench.agents = RESEARCHER.replace(old, new)

    assert f": {why}" in bench.run().stdout
    assert why in bench.json("--allow-unheard")["events"][0]["deliveries"][0]["why"]


@pytest.mark.parametrize(
    ("events", "message"),
    [
        (
            '{"type": "com.example.asked"}',
            "1 event was dead-lettered, first #1 com.example.asked: TemplateFailed; mend the cause",
        ),
        (
            '{"type": "com.example.askd"}\n{"type": "com.other"}',
            "2 events were heeded by no Agent, first #1 com.example.askd: no Agent heeds it; "
            "did you mean com.example.asked?",
        ),
        (
            '{"type": "com.example.forgot", "to": "researcher"}',
            "1 event was heeded by no Agent, first #1 com.example.forgot: Agent demo/researcher has no handler for it; "
            "did you mean com.example.forget?",
        ),
    ],
)
def test_what_hardly_is_meant_fails_and_says_how_to_allow_it(bench: Bench, events: str, message: str) -> None:
    bench.events = events
    letters = "TemplateFailed" in message
    allow, expect = (
        ("--allow-dead-letters", "deadLetters: [TemplateFailed]")
        if letters
        else ("--allow-unheard", f"unheard: {events.count('type')}")
    )

    result = bench.run()

    assert result.exit_code == 1
    assert message in result.stderr and allow in result.stderr
    assert bench.run(allow).exit_code == 0
    assert bench.run("--allow-unheard" if letters else "--allow-dead-letters").exit_code == 1
    assert bench.expect(expect).exit_code == 0
    assert bench.expect("pending: 0").exit_code == 1
    assert bench.expect("pending: 0", allow).stdout.endswith("as expected\n")


def test_an_expected_outcome_is_foreseen(bench: Bench) -> None:
    bench.events = '{"type": "com.example.asked"}'

    assert bench.expect("outcomes: {deadLettered: 1}").exit_code == 0
    assert bench.expect("outcomes: {deadLettered: 2}").exit_code == 1


def test_what_agents_emit_and_what_a_condition_keeps_out_is_no_surprise(bench: Bench) -> None:
    bench.agents = RESEARCHER.replace("asked}]", 'asked, where: event.data.topic == "tides"}]')
    bench.events = ASKED + ASKED.replace("tides", "moon")

    report = bench.json(*ANSWER)

    assert report["outcomes"] == {"handled": 2, "ignored": 1}
    assert report["unheard"] == []


def test_a_long_command_is_cut(bench: Bench) -> None:
    bench.agents = RESEARCHER.replace('args: ["', 'command: [sh, -c], args: ["' + "x\\n" * 200)

    (line,) = [line.strip() for line in bench.run().stdout.splitlines() if "a:1:" in line]

    assert line.startswith("a:1: sh -c 'x⏎x⏎") and line.endswith("…") and len(line) == 100


def test_until_stops_after_so_many_messages(bench: Bench) -> None:
    report = bench.json(*ANSWER, "--until", "2")

    assert (len(report["events"]), report["waiting"]) == (2, 1)


def test_an_endless_loop_is_found(bench: Bench) -> None:
    emit = "{type: com.example.ping}, {type: com.example.pong}"
    bench.agents = RESEARCHER.split("  tasks:")[0].replace("asked", ">") + (
        f"  handlers:\n    - {{name: again, type: com.example.>, emit: [{emit}]}}\n"
    )

    result = bench.run("-o", "json")

    assert result.exit_code == 1
    assert "stopped after 10001 messages: the Agents seem to be in an endless loop of" in result.stderr
    assert "com.example.ping" in result.stderr and "com.example.pong" in result.stderr


def test_a_loop_that_the_limit_of_hops_ends_is_told_too(bench: Bench) -> None:
    bench.agents = RESEARCHER.split("  tasks:")[0] + (
        "  handlers:\n    - {name: again, type: com.example.asked, emit: [{type: com.example.asked}]}\n"
    )

    result = bench.run("--expect", bench.file("expect.yaml", "deadLetters: 1"))

    assert result.exit_code == 1
    assert "exceeded the limit of hops: the Agents seem to be in an endless loop of com.ex" in result.stderr


EXPECTED = """\
agents:
  researcher: {sessions: {line-1: {state: {topic: tides, answer: "42"}}}, totals: {handled: 2}}
  demo/researcher: {pendingTasks: {}}
emitted: [com.example.answered]
tasks: [{task: research, input: {topic: tides}}]
deadLetters: 0
pending: []
outcomes: {handled: 2, ignored: 0}
"""


def test_an_expectation_that_is_met_passes(bench: Bench) -> None:
    result = bench.expect(EXPECTED, *ANSWER)

    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.endswith("as expected\n")


@pytest.mark.parametrize(
    ("old", "new", "path", "expected", "found"),
    [
        ('answer: "42"', "answer: 42", "agents.researcher.sessions.line-1.state.answer", "42", '"42"'),
        ("topic: tides", "topic: null", "agents.researcher.sessions.line-1.state.topic", "null", '"tides"'),
        ("handled: 2}}", "handled: 3}}", "agents.researcher.totals.handled", "3", "2"),
        ("[com.example.answered]", "[]", "emitted[0]", "nothing", '"com.example.answered"'),
        ("[com.example.answered]", "[a.b]", "emitted[0]", '"a.b"', '"com.example.answered"'),
        (
            "[com.example.answered]",
            "[com.example.answered, {type: a.b}]",
            "emitted[1]",
            '{"type": "a.b"}',
            "nothing",
        ),
        ("[com.example.answered]", "[{data: {answer: 43}}]", "emitted[0].data.answer", "43", '"42"'),
        ("deadLetters: 0", "deadLetters: 1", "deadLetters", "1", "0"),
        ("pending: []", "pending: [research]", "pending[0]", '"research"', "nothing"),
        ("ignored: 0", "stale: 1", "outcomes.stale", "1", "0"),
    ],
)
def test_an_expectation_that_is_not_met_fails(
    bench: Bench, old: str, new: str, path: str, expected: str, found: str
) -> None:
    result = bench.expect(EXPECTED.replace(old, new, 1), *ANSWER)

    assert result.exit_code == 1
    assert result.stderr == (
        f"not as expected in 1 place:\n  {path}\n    - expected {expected}\n    + found    {found}\n"
    )


@pytest.mark.parametrize(
    ("events", "message"),
    [
        ("{", "events.jsonl:1: is not JSON: Expecting property name"),
        (ASKED + "[]", "events.jsonl:2: is no event; write one event as one JSON object per line"),
        ('{"data": 1}', "events.jsonl:1: attribute type is missing"),
        (
            '{"type": "a", "datta": {}}',
            'events.jsonl:1: attribute datta is dict; send it as a string; "datta": did you',
        ),
        (
            '{"tpye": "a"}',
            'attribute type is missing or empty; the sender has to set it; "tpye": did you mean "type"?',
        ),
        ('{"type": "a b"}', "events.jsonl:1: type 'a b' cannot be a subject"),
        (
            '{"type": "a", "to": "nobody"}',
            'events.jsonl:1: "to" is "nobody", none of the given Agents: researcher',
        ),
        ('{"type": "a", "task": "research"}', 'events.jsonl:1: "task" is the name of a task'),
        ('{"type": "a", "time": "now"}', "events.jsonl:1: time 'now' is not RFC 3339"),
        ('{"type": "a", "data": 1e999}', "events.jsonl:1: number 1e999 does not fit"),
        ("[" * 100_000, "events.jsonl:1: data nest deeper"),
        ('{"type": "a", "Bad": 1}', "events.jsonl:1: attribute name 'Bad' is not allowed"),
    ],
)
def test_a_bad_line_is_an_error_with_its_place(bench: Bench, events: str, message: str) -> None:
    bench.events = events

    result = bench.run()

    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--complete", "research"], "write --complete TASK=JSON"),
        (["--complete", "reserch=1"], "no Agent has a task 'reserch'; tasks are: research"),
        (["--complete", "research={answer: 1}"], "is not JSON: Expecting property name"),
        (["--fail", "research="], "write --fail TASK=REASON"),
        (["-n", "elsewhere"], "-n elsewhere: the Agents are in demo"),
        (["--expect", "none.yaml"], "none.yaml: cannot be read: No such file"),
        (["-o", "xml"], "Invalid value for '-o'"),
    ],
)
def test_a_bad_option_is_a_usage_error(bench: Bench, options: list[str], message: str) -> None:
    result = bench.run(*options)

    assert result.exit_code == 2
    assert message in result.stderr


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("task: research", "script.yaml:1: document: is a map, not a list; write a list"),
        ("- {task: reserch, result: 1}", 'script.yaml:1: [0].task: no Agent has a task "reserch"'),
        (
            "- {task: research}\n- task: research\n  when: inpt.a",
            'script.yaml:3: [1].when: unknown variable or function "inpt"',
        ),
        ("- {task: research, result: 1, reason: Unlucky}", "a task completes or fails, not both"),
        (
            "- {task: research, wen: 1}",
            'script.yaml:1: [0].wen: there is no such field; did you mean "when"?',
        ),
        ("- {task: research, when: input.nothing > 1}", "script.yaml:1: [0].when: there is no"),
        (
            "- {task: research, result: '${input.nothing}'}",
            'script.yaml:1: [0].result: ${input.nothing}: there is no "nothing"',
        ),
        ("- {task: research, exitcode: 1}", 'there is no such field; did you mean "exitCode"?'),
        ("- {task: research, reason: x, exitCode: one}", "exitCode: is a string, not a whole number"),
        ("- {task: research, result: 1, times: 0}", "times: is 0; write at least 1"),
        ("- {result: 1}", "script.yaml:1: [0].task: is missing; add it"),
        (
            "- {task: research, result: 1, after: line1}",
            'script.yaml:1: [0].after: no given event has the id "line1"; did you mean "line-1"?',
        ),
        ("- {task: research, result: 1, run: 2, times: 1}", "script.yaml:1: [0]: has run and times"),
        ("- {task: research, result: 1, run: 0}", "run: is 0; write at least 1"),
        ("- research", "script.yaml:1: [0]: is a string, not a map"),
        ("- [", "script.yaml:1:4: expected the node content"),
    ],
)
def test_a_bad_script_is_an_error_with_its_place(bench: Bench, script: str, message: str) -> None:
    result = bench.run("--script", bench.file("script.yaml", script))

    assert result.exit_code in (1, 2)
    assert message in result.stderr


@pytest.mark.parametrize(
    ("expectation", "message"),
    [
        ("emited: []", 'expect.yaml:1: emited: there is no such expectation; did you mean "emitted"?'),
        ("pending: 1\nemitted: a", "expect.yaml:2: emitted: is not a list or a number"),
        ("outcomes: {handeld: 0}", 'outcomes.handeld: there is no such outcome; did you mean "handled"?'),
        ("agents: {reseacher: null}", 'agents.reseacher: there is no such Agent; did you mean "researcher"?'),
        ("agents: {other/researcher: null}", "agents.other/researcher: there is no such Agent"),
        (
            "agents: {researcher: {total: null}}",
            'agents.researcher.total: there is no such field; did you mean "to',
        ),
        (
            "agents: {researcher: {totals: {deadLetered: null}}}",
            "totals.deadLetered: there is no such field; did",
        ),
        (
            "agents: {researcher: {sessions: {a: {stat: null}}}}",
            "sessions.a.stat: there is no such field; did you",
        ),
        ("tasks: [{tsk: null}]", 'tasks[0].tsk: there is no such field; did you mean "task"?'),
        ("deadLetters: [{cod: null}]", 'deadLetters[0].cod: there is no such field; did you mean "code"?'),
        ("[]", "an expectation is a map"),
        ("", "holds 0 documents"),
    ],
)
def test_a_bad_expectation_is_an_error_with_its_place(bench: Bench, expectation: str, message: str) -> None:
    result = bench.expect(expectation)

    assert result.exit_code == 2
    assert message in result.stderr


def test_a_bad_agent_is_told_with_its_line(bench: Bench) -> None:
    bench.agents = RESEARCHER.replace("end: true", "ending: true")

    result = bench.run()

    assert result.exit_code == 1
    assert "agents.yaml:21: spec.handlers[2].ending: there is no such field" in result.stderr


def test_agents_of_several_namespaces_need_a_word_on_where_the_events_are(bench: Bench) -> None:
    bench.agents = f"{RESEARCHER}---\n{SCRIBE.replace('demo', 'other')}"

    assert bench.run().exit_code == 2
    assert bench.run("-n", "demo").exit_code == 0


def test_events_may_come_from_standard_input(bench: Bench) -> None:
    agents = bench.file("agents.yaml", RESEARCHER)

    assert heed("simulate", "-f", agents, "-", stdin=ASKED).exit_code == 0
    assert heed("simulate", "-f", "-", "-", stdin=ASKED).exit_code == 2


LINE = st.sampled_from(
    [
        ASKED.strip(),
        "{}",
        '{"type":',
        '{"type": "com.example.asked", "data": {"topic": {"a": [1.5, null]}}}',
        "# x",
        "\ufeff",
    ]
) | st.text(max_size=20)
VALUE = st.recursive(
    st.none() | st.integers() | st.text(max_size=8), lambda inner: st.lists(inner, max_size=3)
)
MEMBER = st.sampled_from(
    ["type", "id", "time", "data", "to", "source", "heedhops", "correlationid", "specversion"]
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(
    st.lists(
        LINE
        | st.dictionaries(MEMBER, VALUE).map(lambda event: json.dumps({"type": "com.example.asked", **event}))
    )
    .map("\n".join)
    .map(lambda text: text.encode("utf-8", "surrogatepass"))
    | st.binary(max_size=30)
)
def test_no_events_make_it_break(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    agents = tmp_path_factory.getbasetemp() / "agents.yaml"
    agents.write_text(RESEARCHER)

    result = heed("simulate", "-f", str(agents), "-", *ANSWER, stdin=content)

    assert result.exit_code in (0, 2) or re.search("event(s were| was) dead-lettered", result.stderr)
    assert "heed broke" not in result.stderr


# ── what is not simulated ───────────────────────────────────────────────────────────────────────────────────────────


def test_suspend_and_rate_limit_are_noted_and_not_kept(tmp_path: Path) -> None:
    # Given
    agents, events = tmp_path / "agents.yaml", tmp_path / "events.jsonl"
    pace = "spec:\n  suspend: true\n  rateLimit: {events: 1, per: 1m}\n"
    agents.write_text(SCRIBE.replace("spec:\n", pace, 1).replace(", to: researcher", ""))
    event = {"type": "com.example.answered", "data": {"answer": "42"}}
    events.write_text("".join(json.dumps({**event, "id": str(number)}) + "\n" for number in range(3)))

    # When
    result = heed("simulate", "-f", agents, events, "-o", "json", "--allow-unheard")

    # Then
    assert result.stderr.splitlines()[:2] == [
        "note: demo/scribe is suspended; it reads all the same here",
        "note: demo/scribe is limited to 1 event per 1m; it reads as fast as they come here",
    ]
    assert json.loads(result.stdout)["agents"]["demo/scribe"]["totals"]["handled"] == 3


# --- what time and people end, and what other objects do -----------------------------------------------------------

PATIENT = """\
apiVersion: heed.dev/v1alpha1
kind: Agent
metadata: {name: patient, namespace: demo}
spec:
  subscribe: [{type: com.example.asked}]
  tasks:
    decide:
      timeout: 2h
      approval: {title: "Buy ${event.data.topic}?", onTimeout: reject}
    open:
      approval: {title: "Is it open?"}
    grace:
      wait: {for: 90s}
    build:
      resource:
        template: {apiVersion: example.org/v1, kind: Widget, spec: {size: 1}}
        succeeded: object.status.done
  handlers:
    - name: begin
      type: com.example.asked
      start: [{task: decide}, {task: open}, {task: grace}, {task: build}]
    - name: ended
      type: dev.heed.task.completed
    - name: failed
      type: dev.heed.task.failed
"""


def test_the_start_of_every_kind_of_task_says_what_it_is(bench: Bench) -> None:
    bench.agents = PATIENT

    lines = [line.strip() for line in bench.run().stdout.splitlines()]

    shown = {
        before.split()[1].rpartition("-")[0]: line
        for before, line in itertools.pairwise(lines)
        if before.startswith("start ")
    }
    assert shown == {
        "decide": "asks: Buy tides?, until 2026-01-01T02:00:01Z",
        "open": "asks: Is it open?",
        "grace": "until 2026-01-01T00:01:31Z",
        "build": "Widget of example.org/v1",
    }


def test_what_is_left_pending_says_how_a_simulation_gets_there(bench: Bench) -> None:
    bench.agents = PATIENT

    text = bench.run().stdout
    kinds = {task["task"]: task["kind"] for task in bench.json()["pending"]}

    hints = dict(re.findall(r"(\w+)-\w+ is pending in session line-1; (.+)", text))
    assert hints == {
        "decide": "--complete decide=CHOICE would answer it; its timeout is at 2026-01-01T02:00:01Z: "
        "--advance or --until goes there",
        "open": "--complete open=CHOICE would answer it",
        "grace": "it is over at 2026-01-01T00:01:31Z: --advance or --until goes there",
        "build": "--complete build=JSON would end it",
    }
    assert kinds == {"decide": "approval", "open": "approval", "grace": "wait", "build": "resource"}


def test_what_comes_due_says_when(bench: Bench) -> None:
    bench.agents = PATIENT

    text = bench.run("--advance", "90s").stdout

    assert re.search(
        r"^#2  dev\.heed\.task\.completed  \w+  \(due at 2026-01-01T00:01:31Z\)$", text, re.MULTILINE
    )


def test_progress_is_not_told_as_an_end(bench: Bench) -> None:
    bench.agents = PATIENT.replace("succeeded:", "progress: object.status.percent\n        succeeded:")
    script = "- {task: build, objects: [{status: {percent: 40}}, {status: {done: true}}]}"

    text = bench.run("--script", bench.file("script.yaml", script)).stdout

    said = re.findall(r"^#\d+  dev\.heed\.task\.(\w+)  \w+  (.+)$", text, re.MULTILINE)
    assert said == [("progress", "(task progress)"), ("completed", "(task end)")]
