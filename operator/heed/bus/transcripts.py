"""Transcripts of models in a stream: one message for each record, on a subject of its own, which nothing replaces.

Records of a task are numbered from 0, and read up to the first number that is not there. A record is added where
nothing stands yet; of two workers that add one to the same place, the broker refuses the second.
"""

import asyncio
import json
from collections.abc import Sequence
from typing import Final

from nats.js.api import Header

from heed import names
from heed.bus.client.connection import ApiRefused, Connection
from heed.core.codec.canonical_json import dump_compact
from heed.core.llm.transcript_record import TranscriptRecord, record_from_json, record_to_json
from heed.errors import BusUnavailable
from heed.settings import StreamSettings

KEPT_DAYS: Final = 30
WRONG_LAST_SEQUENCE: Final = 10071
RETRY_S: Final = 0.2  # until a replica has what another one says is there
HEADERS_BYTES: Final = 1024
MAX_RECORDS: Final = 100_000
_NAME_IN_USE: Final = 10058
_SECOND_NS: Final = 1_000_000_000
_STATUS: Final = "Status"


class RecordTooLarge(ValueError):
    """No message of the broker's can hold a record."""


class TranscriptStream:
    """The stream of all transcripts, made when it is first needed."""

    def __init__(self, connection: Connection, settings: StreamSettings) -> None:
        self._connection, self._settings, self._ready = connection, settings, False

    async def prepare(self) -> None:
        """Make the stream where it is missing. Raises BusUnavailable."""
        if not self._ready:
            wanted = {
                "name": names.TRANSCRIPT_STREAM,
                "description": "What was said to models and by them",
                "subjects": list(names.TRANSCRIPT_STREAM_SUBJECTS),
                "storage": "file",
                "num_replicas": self._settings.replicas,
                "max_age": KEPT_DAYS * 24 * 3600 * _SECOND_NS,
                "allow_direct": True,
            }
            try:
                await self._connection.api(f"STREAM.CREATE.{names.TRANSCRIPT_STREAM}", wanted)
            except ApiRefused as error:
                if (
                    error.err_code != _NAME_IN_USE
                ):  # with other limits, which are for its administrator to choose
                    raise
            self._ready = True


class TaskTranscript:
    """The transcript of one task."""

    def __init__(self, connection: Connection, namespace: str, agent: str, task_id: str) -> None:
        self._connection = connection
        self._place = (namespace, agent, task_id)
        self._next = 0

    async def read(self) -> Sequence[TranscriptRecord]:
        """All records. Raises BusUnavailable, and ValueError for what is none."""
        records: list[TranscriptRecord] = []
        while len(records) < MAX_RECORDS and (record := await self._get(len(records))) is not None:
            records.append(record)
        self._next = len(records)
        return records

    async def append(self, record: TranscriptRecord) -> TranscriptRecord:
        """Add a record, unless its key is there; the record that stands under it.

        Raises BusUnavailable, RecordTooLarge, and ValueError where what is there is no record.
        """
        body = dump_compact(record_to_json(record)).encode()
        if (most := self._connection.max_payload - HEADERS_BYTES) < len(body):
            raise RecordTooLarge(f"{len(body)} bytes of a transcript are more than the {most} of a message")
        while True:
            reply = await self._connection.request(
                self._subject(self._next), body, {Header.EXPECTED_LAST_SUBJECT_SEQUENCE.value: "0"}
            )
            error = json.loads(reply.data).get("error")
            if error is None:
                self._next += 1
                return record
            if error.get("err_code") != WRONG_LAST_SEQUENCE:
                raise BusUnavailable(f"the broker took no transcript: {error.get('description')}")
            found = await self._get(self._next)
            if found is None:
                await asyncio.sleep(RETRY_S)
                continue
            self._next += 1
            if found.key == record.key:
                return found

    async def _get(self, number: int) -> TranscriptRecord | None:
        subject = self._connection.api_subject(
            f"DIRECT.GET.{names.TRANSCRIPT_STREAM}.{self._subject(number)}"
        )
        reply = await self._connection.request(subject)
        status = (reply.headers or {}).get(_STATUS)
        if status == "404":
            return None
        if status is not None:
            raise BusUnavailable(f"the broker gave no transcript: status {status}")
        return record_from_json(json.loads(reply.data))

    def _subject(self, number: int) -> str:
        namespace, agent, task_id = self._place
        return names.transcript_subject(namespace, agent, f"{task_id}.{number}")
