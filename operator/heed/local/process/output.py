"""Reads a child's output line by line, as it is written.

Plain pipes, not asyncio's: a process that left the child's group may hold the other end open for ever, and neither
the child's end nor this process may wait for that.
"""

import asyncio
import codecs
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

MAX_LINE_CHARS: Final = 16 * 1024  # characters of one line; longer ones are handed on in pieces
DRAIN_TIMEOUT_S: Final = 0.5  # seconds to read what a finished child has written

Line = Callable[[str], None]


@dataclass(slots=True)
class OutputPipe:
    """The end of a pipe for a child to write to."""

    writing: int

    def close(self) -> None:
        """Close this process's copy; the child has its own."""
        if self.writing >= 0:
            os.close(self.writing)
            self.writing = -1


@asynccontextmanager
async def open_pipe(line: Line) -> AsyncIterator[OutputPipe]:
    """A pipe whose lines go to `line`. On exit, everything written before has been passed on."""
    reading, writing = os.pipe()
    pipe, stream = OutputPipe(writing), asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(stream), os.fdopen(reading, "rb", 0)
    )
    reader = asyncio.create_task(_lines(stream, line))
    try:
        yield pipe
    finally:
        pipe.close()
        try:
            await asyncio.wait({reader}, timeout=DRAIN_TIMEOUT_S)
        finally:
            reader.cancel()
            transport.close()
        await asyncio.gather(reader, return_exceptions=True)


async def _lines(stream: asyncio.StreamReader, line: Line) -> None:
    decoder, rest = codecs.getincrementaldecoder("utf-8")("replace"), ""
    while chunk := await stream.read(MAX_LINE_CHARS):
        *whole, rest = (rest + decoder.decode(chunk)).split("\n")
        for text in whole:
            line(text.removesuffix("\r"))
        if len(rest) > MAX_LINE_CHARS:
            line(rest)
            rest = ""
    if rest:
        line(rest)
