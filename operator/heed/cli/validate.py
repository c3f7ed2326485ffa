"""`heed validate`: the operator's own checks, offline, where an editor or a pipeline can use them."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

import click

from heed.api.manifest.document import Manifest, NotAManifest, UnreadableManifest
from heed.api.validation import parse_agent
from heed.cli.code_manifests import choose_types
from heed.cli.manifest_files import LoadedAgent, duplicate_agents, find_sources, read_manifests, source_name
from heed.cli.next_ticks import describe_timers, find_next_ticks
from heed.cli.output import OutputFormat, output_option, paint, show_data
from heed.core.compiler.admission import check_gateway_object
from heed.core.policy.addresses import LOOPBACK
from heed.errors import NOT_GRANTED, InvalidManifest, Problem
from heed.local.manifest_loader import lint_manifests
from heed.local.policy_loader import PolicySet, load_policies
from heed.sdk.lint import lint_code
from heed.sdk.manifest_places import CodeManifest
from heed.util.clock import now
from heed.util.terminal import visible

Severity = Literal["error", "warning"]


@dataclass(frozen=True, slots=True)
class ValidationFinding:
    """An error or warning on a manifest. `agent` is namespace/name, or None where not known."""

    file: str
    line: int
    path: str
    message: str
    remedy: str
    severity: Severity
    agent: str | None

    def __str__(self) -> str:
        label = "warning: " if self.severity == "warning" else ""
        place = f"{self.path}: " if self.path else ""
        return f"{label}{place}{self.message}" + (f"; {self.remedy}" if self.remedy else "")


@dataclass(frozen=True, slots=True)
class ValidationReport:
    """The findings of one set of files."""

    findings: list[ValidationFinding]
    valid: list[LoadedAgent]
    rules: list[Manifest]
    skipped: list[Manifest]


@click.command()
@click.argument("files", nargs=-1)
@click.option(
    "-f",
    "--filename",
    "filenames",
    metavar="FILE",
    multiple=True,
    help="A manifest, a folder of them, or - for standard input; repeatable.",
)
@click.option("--strict", is_flag=True, help="Let warnings fail too.")
@output_option
def validate(files: Sequence[str], filenames: Sequence[str], strict: bool, output: OutputFormat) -> None:
    """Check Agents in FILES as the operator would, and more: what is valid, but hardly meant, gives a warning.

    AgentPolicies, EventGrants and EventTypes in FILES are checked too, and by them Agents, EventSources and
    Subscriptions; a grant that is not there gives a warning. Documents of other kinds are skipped. Exits with 1 if
    there is a mistake, with 2 where a file cannot be read. Of a timer it shows the next five ticks, in its time zone
    and in UTC. JSON and YAML output are a list of {file, line, path, message, remedy, severity, agent}.

    \b
    Examples:
      heed validate -f agent.yaml
      heed validate --strict agents/*.yaml policies/
      kubectl get agents -A -o yaml | heed validate -f - -o json
    """
    paths = [*filenames, *files]
    if not paths:
        raise click.UsageError("Name at least one file: heed validate -f FILE")
    checked = check_files(paths)
    if output == "text":
        _show(checked)
    else:
        show_data([asdict(finding) for finding in checked.findings], output)
    failing = ("error", "warning") if strict else ("error",)
    if any(finding.severity in failing for finding in checked.findings):
        raise click.exceptions.Exit(1)


def check_files(paths: Sequence[str]) -> ValidationReport:
    """All findings on the Agents and policies in these files. Raises InvalidSettings."""
    checked = ValidationReport([], [], [], [])
    files = find_sources(paths)
    manifests = choose_types(
        manifest for source in files for manifest in _read(source, source in paths, checked)
    )
    rules, mistakes = load_policies(manifests)
    checked.findings.extend(_finding(manifest, problem, "error") for manifest, problem in mistakes)
    wrong = [manifest for manifest, _ in mistakes]
    for manifest in manifests:
        if manifest.is_agent:
            _check(manifest, rules, checked)
        elif manifest.gateway_kind is not None:
            _check_gateway_object(manifest, manifest.gateway_kind, rules, checked)
        elif manifest.rule is None:
            checked.skipped.append(manifest)
        elif not any(manifest is item for item in wrong):
            checked.rules.append(manifest)
    for manifest, problem in duplicate_agents(checked.valid):
        checked.findings.append(_finding(manifest, problem, "error"))
    if not (checked.findings or checked.valid or checked.rules):
        remedy = "an Agent has apiVersion heed.dev/v1alpha1 and kind Agent"
        checked.findings.append(
            ValidationFinding(source_name(files[0]), 1, "", "there is no Agent", remedy, "error", None)
        )
    checked.findings.extend(_warnings(checked.valid))
    return checked


def _read(source: str, is_named: bool, checked: ValidationReport) -> list[Manifest]:
    """The documents of a file. One that is found in a folder may be something else altogether."""
    try:
        return read_manifests(source)
    except UnreadableManifest as error:
        if is_named or not isinstance(error, NotAManifest):
            found = ValidationFinding(
                error.source, error.line, "", error.message, error.remedy, "error", None
            )
            checked.findings.append(found)
        return []


def _check(manifest: Manifest, rules: PolicySet, checked: ValidationReport) -> None:
    """One Agent. What other namespaces would have to grant may be granted in the cluster, where files cannot tell."""
    try:
        agent = parse_agent(manifest.document)
        program, missing = rules.compile_as_granted(agent)
    except InvalidManifest as error:
        problems: Sequence[Problem] = error.problems
    else:
        checked.valid.append(LoadedAgent(manifest, agent, program))
        problems = missing
    for problem in problems:
        severity: Severity = "warning" if problem.reason == NOT_GRANTED else "error"
        checked.findings.append(_finding(manifest, problem, severity))


def _check_gateway_object(manifest: Manifest, kind: str, rules: PolicySet, checked: ValidationReport) -> None:
    """One EventSource or Subscription."""
    try:
        check_gateway_object(kind, manifest.document, rules.policies, LOOPBACK)
    except InvalidManifest as error:
        checked.findings.extend(_finding(manifest, problem, "error") for problem in error.problems)
    else:
        checked.rules.append(manifest)


def _warnings(valid: Sequence[LoadedAgent]) -> Iterator[ValidationFinding]:
    for manifest, problem in lint_manifests([(item.manifest, item.program) for item in valid]):
        yield _finding(manifest, problem, "warning")
    for item in valid:
        code = item.manifest.code if isinstance(item.manifest, CodeManifest) else None
        for problem in (*(lint_code(code) if code else ()), *_past_timers(item)):
            yield _finding(item.manifest, problem, "warning")


def _past_timers(item: LoadedAgent) -> Iterator[Problem]:
    for timer in item.program.timers.values():
        if not find_next_ticks(timer, now()):
            yield Problem(f"spec.timers.{timer.name}.at", "is over, so it never ticks", "name a time to come")


def _finding(manifest: Manifest, problem: Problem, severity: Severity) -> ValidationFinding:
    line, problem = manifest.line_of(problem.path), manifest.attribute(problem)
    agent = None
    if manifest.name and manifest.is_agent:
        metadata = manifest.document["metadata"]
        agent = f"{metadata.get('namespace') or 'default'}/{manifest.name}"
    return ValidationFinding(
        manifest.source, line, problem.path, problem.message, problem.remedy, severity, agent
    )


def _show(checked: ValidationReport) -> None:
    for manifest in checked.skipped:
        click.echo(
            f"{visible(manifest.source)}:{manifest.line}: {visible(manifest.title)}: skipped, not an Agent"
        )
    for manifest in checked.rules:
        place = f"{visible(manifest.source)}:{manifest.line}:"
        click.echo(paint(f"{place} {visible(manifest.title)} is valid", "green"))
    for finding in checked.findings:
        place = paint(f"{visible(finding.file)}:{finding.line}:", bold=True)
        colour = "red" if finding.severity == "error" else "yellow"
        click.echo(f"{place} {paint(visible(str(finding)), colour)}")
    for item in checked.valid:
        if not any(_is_about(finding, item) for finding in checked.findings):
            spec = item.agent.spec
            counts = f"{_counted(len(spec.handlers), 'handler')}, {_counted(len(spec.tasks), 'task')}"
            place = f"{visible(item.manifest.source)}:{item.manifest.line}:"
            if spec.timers:
                counts += f", {_counted(len(spec.timers), 'timer')}"
            click.echo(paint(f"{place} Agent {item.program.agent} is valid ({counts})", "green"))
            for line in describe_timers(item.program, now()):
                click.echo(f"  {line}")


def _is_about(finding: ValidationFinding, item: LoadedAgent) -> bool:
    return (
        finding.severity == "error"
        and finding.file == item.manifest.source
        and finding.agent == str(item.program.agent)
    )


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
