"""`heed publish`: send one event, to all Agents of a namespace or to one."""

import asyncio
import json
import re
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from cloudevents.core.exceptions import CloudEventValidationError
from cloudevents.core.v1.event import CloudEvent

from heed import names
from heed.bus.client.connection import NoAnswer, connect
from heed.bus.jetstream import JetStreamBus, PubAck
from heed.cli.broker_url import Broker, BrokerChoice, broker_option
from heed.cli.output import BadInput, CliError, to_cli_error, to_yaml
from heed.cli.schema_check import check_event
from heed.core.codec.cloudevents_json import build_event, choose_form, read_data
from heed.core.compiler.audience import explain_unheeded
from heed.core.events import Event
from heed.errors import HeedError, InvalidManifest, InvalidSettings, MalformedEvent
from heed.settings import Settings


@click.command()
@click.argument("type_", metavar="TYPE")
@click.option(
    "--data", metavar="JSON|@FILE|-", help="The event's data: JSON, a file, or - for standard input."
)
@click.option("--content-type", help="Content type of the data.  [default: application/json]")
@click.option("--correlation", metavar="ID", help="The correlationid: which flow the event belongs to.")
@click.option("--causation", metavar="ID", help="The causationid: the event that caused this one.")
@click.option("--to", "agent", metavar="AGENT", help="Send it to this Agent only.")
@click.option("-n", "--namespace", default="default", show_default=True, help="Namespace of the Agents.")
@click.option("--id", "id_", metavar="ID", help="The event's id.  [default: a new one]")
@click.option("--source", default="/heed/cli", show_default=True, help="The event's source.")
@click.option("--subject", help="The event's subject attribute.")
@click.option(
    "--ext", "extensions", metavar="NAME=VALUE", multiple=True, help="An extension attribute; repeatable."
)
@click.option(
    "--msg-id/--no-msg-id", default=True, help="Let the broker drop duplicates of the same source and id."
)
@click.option(
    "-f",
    "--types",
    "files",
    metavar="FILE",
    multiple=True,
    help="EventTypes that the event is to fit, in a file or folder; repeatable.",
)
@broker_option
@click.option(
    "-o", "--output", type=click.Choice(["text", "json", "yaml"]), default="text", show_default=True
)
def publish(
    type_: str,
    data: str | None,
    content_type: str | None,
    correlation: str | None,
    causation: str | None,
    agent: str | None,
    namespace: str,
    id_: str | None,
    source: str,
    subject: str | None,
    extensions: Sequence[str],
    msg_id: bool,
    files: Sequence[str],
    broker: BrokerChoice,
    output: str,
) -> None:
    """Publish an event of TYPE, such as com.example.order.placed."""
    if agent is None and names.is_reserved(type_):
        message = "dev.heed.* is reserved for what Heed itself says; choose a type of your own"
        raise BadInput(f"{message}, or send it to one Agent with --to")
    attributes = {
        **_extensions(extensions),
        "id": id_,
        "source": source,
        "type": type_,
        "subject": subject,
        "datacontenttype": content_type or (None if data is None else "application/json"),
        "correlationid": correlation,
        "causationid": causation,
    }
    event = _event({name: value for name, value in attributes.items() if value is not None}, data)
    where = _subject(namespace, agent, type_)
    _check(event, namespace, files)
    try:
        found = broker.find()
        stored = asyncio.run(_publish(found.settings, where, event, deduplicate=msg_id))
    except NoAnswer as error:
        message = f"no stream takes {where}; start `heed dev` or the operator first, which makes it ({error})"
        raise CliError(message) from None
    except HeedError as error:
        raise to_cli_error(error) from None
    result = {"id": event.id, "stream": stored.stream, "sequence": stored.sequence, "subject": where}
    _show({**result, "duplicate": stored.duplicate}, type_, output)
    for warning in _doubts(stored, where, found):
        click.echo(f"warning: {warning}", err=True)


def _doubts(stored: PubAck, subject: str, broker: Broker) -> Iterator[str]:
    """Warnings that no Agent may heed the event, as far as can be known here."""
    if stored.stream != names.STREAM:
        yield (
            f"stream {stored.stream} takes {subject}, and Agents read {names.STREAM}: they will not hear of it; "
            f"remove the subject from {stored.stream}, then start `heed dev` or the operator"
        )
    elif broker.dev is not None and (why := explain_unheeded(broker.dev.listeners, subject)) is not None:
        yield why


def _check(event: Event, namespace: str, files: Sequence[str]) -> None:
    """Warn where the event breaks an EventType. Raises CliError where it is not to be sent, or files are unusable."""
    if not files:
        return
    try:
        finding = check_event(event, namespace, files)
    except InvalidManifest as error:
        raise BadInput("\n".join(map(str, error.problems))) from None
    except InvalidSettings as error:
        raise to_cli_error(error) from None
    if finding is not None and finding.mode == "Enforce":
        raise CliError(f"not published, since it would be dead-lettered: {finding.message}")
    if finding is not None:
        click.echo(f"warning: {finding.message}", err=True)


async def _publish(settings: Settings, subject: str, event: Event, *, deduplicate: bool) -> PubAck:
    connection = await connect(settings, "heed publish", attempts=1)
    try:
        return await JetStreamBus(connection).send(subject, event, deduplicate=deduplicate)
    finally:
        await connection.close()


def _event(attributes: dict[str, str], data: str | None) -> Event:
    """The event; what is not given of id and time, the CloudEvents SDK makes up. Raises BadInput."""
    body = b"" if data is None else _read(data)
    try:
        complete = CloudEvent({"specversion": "1.0", **attributes}).get_attributes()
        texts = {name: _rfc3339(value) for name, value in complete.items() if value is not None}
        return build_event(texts, read_data(body, attributes.get("datacontenttype")))
    except CloudEventValidationError as error:
        raise BadInput(_first(error)) from None
    except MalformedEvent as error:
        is_json = body and choose_form(attributes.get("datacontenttype")) == "json"
        raise BadInput((is_json and _why_not_json(data, body)) or str(error)) from None


def _why_not_json(data: str | None, body: bytes) -> str | None:
    """Where the data end to be JSON, and what to do; None where they are JSON, if such as Heed does not take."""
    try:
        json.loads(body)
    except UnicodeDecodeError:
        return None
    except json.JSONDecodeError as error:
        place = f"{error.msg}, line {error.lineno}, column {error.colno}"
        if data == "-" or str(data).startswith("@"):
            return f"--data {data} is not JSON: {place}; correct it there, or name its --content-type"
        quoting = "in a shell, put single quotes around it and double quotes around names and texts"
        return f"""--data is not JSON: {place}; {quoting}: --data '{{"topic": "tides"}}'"""
    return None


def _rfc3339(value: object) -> str:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return str(value)


def _first(error: CloudEventValidationError) -> str:
    """The SDK's first complaint about an event."""
    return next((str(item) for items in error.errors.values() for item in items), str(error))


def _read(data: str) -> bytes:
    if data == "-":
        return sys.stdin.buffer.read()
    if not data.startswith("@"):
        return data.encode(errors="surrogateescape")
    try:
        return Path(data[1:]).read_bytes()
    except OSError as error:
        raise BadInput(f"--data {data}: {error.strerror or error}; name a file that can be read") from None


def _extensions(pairs: Sequence[str]) -> dict[str, str]:
    result: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not re.fullmatch(r"[a-z0-9]+", name):
            raise BadInput(f"--ext {pair!r}: write name=value, the name of a-z and 0-9")
        result[name] = value
    return result


def _subject(namespace: str, agent: str | None, type_: str) -> str:
    for option, value in (("--namespace", namespace), ("--to", agent)):
        if value is not None and not names.is_name(value):
            raise BadInput(f"{option} {value!r}: not a Kubernetes name; use a-z, 0-9 and -")
    return names.inbox_subject(namespace, agent, type_) if agent else names.event_subject(namespace, type_)


def _show(result: dict[str, Any], type_: str, output: str) -> None:
    if output == "json":
        click.echo(json.dumps(result, indent=2))
    elif output == "yaml":
        click.echo(to_yaml(result), nl=False)
    elif result["duplicate"]:
        first = f"{result['stream']} {result['sequence']}"
        click.echo(
            f"dropped by the broker: {first} is {type_} {result['id']} of the same source already; "
            "give it another --id, or --no-msg-id"
        )
    else:
        click.echo(
            f"published {type_} {result['id']} on {result['subject']} as {result['stream']} {result['sequence']}"
        )
