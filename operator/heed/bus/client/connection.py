"""A connection to the broker that reconnects for ever, and reports at once when it is lost.

The client library waits out the whole timeout of a pull request that a broken connection swallowed (nats.py #504).
So every wait for the broker also watches the connection.
"""

import asyncio
import contextlib
import json
import logging
import re
import socket
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Final, NoReturn

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

from heed import names
from heed.bus.client.addresses import public_url
from heed.bus.client.connect_options import api_prefix, build_options
from heed.bus.client.flow_control import CreditPool
from heed.errors import BusUnavailable, InvalidSettings
from heed.settings import Settings
from heed.util.aio import keeping_cancellation
from heed.util.backoff import Backoff

log = logging.getLogger(__name__)

REQUEST_TIMEOUT_S: Final = 5.0
CLOSE_TIMEOUT_S: Final = 2.0
MAX_UNSENT_BYTES: Final = 2 * 1024 * 1024  # beyond which requests wait until the broker has taken some
ROOM_INTERVAL_S: Final = 0.005  # between two looks at that
STALLED_TIMEOUT_S: Final = 20  # for the broker's machine to take a byte that was sent
DIAL_AGAIN_BACKOFF: Final = Backoff(first_s=2.0, last_s=2.0, jitter=0.5)
CODE_NOT_FOUND: Final = 404
_REFUSED: Final = re.compile(r'permissions violation for publish to "([^"]+)"', re.IGNORECASE)


class ApiRefused(BusUnavailable):
    """The JetStream API answered with an error: `code` is like HTTP's, `err_code` JetStream's own."""

    def __init__(self, subject: str, error: Mapping[str, Any]) -> None:
        super().__init__(f"the broker refused {subject}: {error.get('description', 'no description')}")
        self.code = int(error.get("code", 0))
        self.err_code = int(error.get("err_code", 0))
        self.description = str(error.get("description", ""))


class NotPermitted(BusUnavailable):
    """The credentials do not permit publishing on a subject; a retry will not help."""


class NoAnswer(BusUnavailable):
    """No responders on the subject: there is no such stream, or no JetStream."""


async def connect(
    settings: Settings,
    name: str,
    attempts: int | None = None,
    *,
    credentials: str | None = None,
    inbox_prefix: str = names.INBOX_PREFIX,
) -> "Connection":
    """Connect, retrying for ever, or up to `attempts` times. Raises BusUnavailable after those, InvalidSettings.

    `credentials` is the content of a .creds file, instead of the one that the settings name. Replies come to subjects
    under `inbox_prefix`.
    """
    connection = Connection(settings, name, credentials, inbox_prefix)
    await connection.dial(attempts)
    return connection


class Connection:
    """A connection. `epoch` counts how often it was made or lost; a reader of an older epoch is lost.

    `errors` counts what went wrong, by kind: `disconnected`, `client` (what the library reports of itself), and of
    requests `no_responders`, `timeout`, `lost` with the connection, `failed` and `refused` by JetStream. `credits` is
    what all readers together may ask for.
    """

    def __init__(
        self,
        settings: Settings,
        name: str,
        credentials: str | None = None,
        inbox_prefix: str = names.INBOX_PREFIX,
    ) -> None:
        self.url = public_url(settings.nats_url)
        self.name = name
        self.epoch = 0
        self.errors: Counter[str] = Counter()
        self.credits = CreditPool(settings.read_ahead)
        self._options = build_options(settings, name, credentials, inbox_prefix)
        self._api_prefix = api_prefix(settings.nats_domain)
        self._client = Client()
        self._watchers: set[Callable[[], None]] = set()
        self._asked: set[_PendingRequest] = set()
        self._connected = asyncio.Event()
        self._closing = False
        self._failures: deque[Exception] = deque(maxlen=100)
        self._attempts: int | None = None
        self._gave_up = asyncio.Event()
        self._redial: asyncio.Task[None] | None = None

    @property
    def client(self) -> Client:
        """The current client. Do not keep it: a new one takes its place once the broker closes it for good."""
        return self._client

    @property
    def is_connected(self) -> bool:
        """Whether the connection is up, as far as the client knows."""
        return self._connected.is_set()

    @property
    def max_payload(self) -> int:
        """The broker's `max_payload` in bytes, which includes headers."""
        return int(self._client.max_payload)

    @property
    def server_version(self) -> tuple[int, ...]:
        """The nats-server's version, such as (2, 15, 1); empty while not connected."""
        if not self._client.is_connected:
            return ()
        found = self._client.connected_server_version
        return found.major, found.minor, found.patch

    def watch(self, changed: Callable[[], None]) -> Callable[[], None]:
        """Call `changed` whenever the connection is lost, made again or closed. Returns what unsubscribes."""
        self._watchers.add(changed)
        return lambda: self._watchers.discard(changed)

    async def serve_clients(
        self, begin: Callable[[Client], Awaitable[object]], served: Client | None = None
    ) -> NoReturn:
        """Begin with each client that is connected, until cancelled: the broker may close one for good.

        `served` is one that was begun with already. What fails is tried again with the next change of the connection.
        """
        changed = asyncio.Event()
        unwatch = self.watch(changed.set)
        try:
            while True:
                changed.clear()
                if self.is_connected and (client := self._client) is not served:
                    with contextlib.suppress(nats.errors.Error, OSError):
                        await begin(client)
                        served = client
                await changed.wait()
        finally:
            unwatch()

    async def ready(self, timeout: float = REQUEST_TIMEOUT_S) -> None:
        """Wait until connected. Raises BusUnavailable after `timeout` seconds."""
        if self.is_connected:
            return
        try:
            async with asyncio.timeout(timeout):
                await self._connected.wait()
        except TimeoutError:
            reason = f": {_reason(self._failures[-1])}" if self._failures else ""
            raise BusUnavailable(f"no connection to {self.url}{reason}; is the broker running?") from None

    async def request(
        self,
        subject: str,
        payload: bytes = b"",
        headers: dict[str, str] | None = None,
        timeout: float = REQUEST_TIMEOUT_S,
    ) -> Msg:
        """A request's reply; it waits for a connection first. Raises BusUnavailable, also as soon as that is lost."""
        if not self._closing:
            await self.ready(timeout)
        await self._make_room(timeout)
        loop = asyncio.get_running_loop()
        scope = asyncio.timeout(None)
        unwatch = self.watch(lambda: None if self.is_connected else scope.reschedule(loop.time()))
        asked = _PendingRequest(subject.lower(), lambda: scope.reschedule(loop.time()))
        self._asked.add(asked)
        try:
            with keeping_cancellation():
                async with scope:
                    return await self._client.request(subject, payload, timeout=timeout, headers=headers)
        except nats.errors.NoRespondersError:
            self.errors["no_responders"] += 1
            remedy = "is JetStream on, and does the stream exist?"
            raise NoAnswer(f"nothing at {self.url} answers to {subject}; {remedy}") from None
        except nats.errors.TimeoutError:
            self.errors["timeout"] += 1
            raise BusUnavailable(f"{self.url} did not answer to {subject} within {timeout:g} s") from None
        except TimeoutError:
            if asked.refused:
                self.errors["refused"] += 1
                message = f"the credentials do not allow to publish on {subject}; use others (HEED_NATS_CREDENTIALS)"
                raise NotPermitted(message) from None
            self.errors["lost"] += 1
            raise BusUnavailable(
                f"the connection to {self.url} was lost before {subject} was answered"
            ) from None
        except (nats.errors.Error, OSError) as error:
            self.errors["failed"] += 1
            raise BusUnavailable(f"{self.url} could not be asked for {subject}: {error!r}") from error
        finally:
            unwatch()
            self._asked.discard(asked)

    async def _make_room(self, timeout: float) -> None:
        """Wait while the broker does not take what was sent already. Raises BusUnavailable after `timeout` seconds."""
        end = asyncio.get_running_loop().time() + timeout
        while self._client.pending_data_size > MAX_UNSENT_BYTES and self.is_connected:
            if asyncio.get_running_loop().time() > end:
                self.errors["timeout"] += 1
                raise BusUnavailable(f"{self.url} has not taken what was sent to it for {timeout:g} s")
            await asyncio.sleep(ROOM_INTERVAL_S)

    def api_subject(self, subject: str) -> str:
        """The subject of a JetStream API request, with the configured domain."""
        return f"{self._api_prefix}.{subject}"

    async def api(self, subject: str, request: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Send a request to the JetStream API and return its decoded reply. Raises ApiRefused, BusUnavailable."""
        payload = b"" if request is None else json.dumps(request).encode()
        reply = await self.request(self.api_subject(subject), payload)
        answer: dict[str, Any] = json.loads(reply.data)
        if "error" in answer:
            refused = ApiRefused(subject, answer["error"])
            self.errors["refused"] += refused.code != CODE_NOT_FOUND  # which is an answer to a question
            raise refused
        return answer

    async def dial(self, attempts: int | None = None) -> None:
        """Connect a new client. Raises BusUnavailable after `attempts` tries, where given; InvalidSettings."""
        client = self._client = Client()
        self._failures.clear()
        self._attempts = attempts
        self._gave_up.clear()
        dialling = asyncio.create_task(client.connect(**self._options, **self._callbacks(client)))
        giving_up = asyncio.create_task(self._gave_up.wait())
        try:
            await asyncio.wait({dialling, giving_up}, return_when=asyncio.FIRST_COMPLETED)
            if not dialling.done():
                raise BusUnavailable(f"cannot connect to {self.url}: {_why_not(self._failures)}")
            await dialling
        except BaseException as error:
            self._client = Client()  # so that nothing that the other one still says is listened to
            await _hang_up(client, dialling)
            if isinstance(error, nats.errors.Error):
                message = f"HEED_NATS_URL={self.url}: {error}; write nats://host:4222"
                raise InvalidSettings(message) from None
            raise
        finally:
            giving_up.cancel()
        if client.is_connected:  # else it was lost again meanwhile, and the library is dialling
            self._change(connected=True)

    async def close(self) -> None:
        """Close it for good, within CLOSE_TIMEOUT_S. Pending requests fail."""
        self._closing = True
        if self._redial is not None:
            self._redial.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._redial
        await _close(self._client)
        self._change(connected=False)

    def _callbacks(self, client: Client) -> dict[str, Any]:
        async def lost() -> None:
            if client is self._client and self.is_connected:
                if not self._closing:
                    self.errors["disconnected"] += 1
                    log.warning("broker lost", extra={"url": self.url})
                self._change(connected=False)

        async def reconnected() -> None:
            if client is self._client:
                log.info("broker reconnected", extra={"url": self.url})
                self._failures.clear()
                self._change(connected=True)

        async def closed() -> None:
            if client is self._client and not self._closing:
                self._redial = asyncio.create_task(self._dial_again())

        async def failed(error: Exception) -> None:
            if client is self._client and not self._closing:
                self._on_error(error)

        return {
            "disconnected_cb": lost,
            "reconnected_cb": reconnected,
            "closed_cb": closed,
            "error_cb": failed,
        }

    def _on_error(self, error: Exception) -> None:
        message = "broker error" if self.is_connected else "broker not reached"
        log.warning(message, extra={"url": self.url, "error": _reason(error)})
        self.errors["client"] += 1
        self._failures.append(error)
        if refused := _REFUSED.search(str(error)):
            for asked in [item for item in self._asked if item.subject == refused[1].lower()]:
                asked.refuse()
        if self._attempts is not None and len(self._failures) >= self._attempts:
            self._gave_up.set()

    async def _dial_again(self) -> None:
        """Connect again where nats-py gives up: the broker ended the connection, as for expired credentials."""
        log.warning(
            "broker closed the connection", extra={"url": self.url, "error": str(self._client.last_error)}
        )
        await asyncio.sleep(DIAL_AGAIN_BACKOFF.delay(1))
        await self.dial()

    def _change(self, *, connected: bool) -> None:
        self.epoch += 1
        if connected:
            _limit_stalling(self._client)
            self._connected.set()
        else:
            self._connected.clear()
        for changed in tuple(self._watchers):
            changed()


class _PendingRequest:
    """A request in flight. A permission error names the subject it is for, not the request."""

    def __init__(self, subject: str, wake: Callable[[], None]) -> None:
        self.subject, self.refused, self._wake = subject, False, wake

    def refuse(self) -> None:
        self.refused = True
        self._wake()


def _limit_stalling(client: Client) -> None:
    """Have the kernel end the connection where the broker's machine takes nothing for STALLED_TIMEOUT_S.

    The library closes a connection that it takes for dead only once all is sent: to a machine that is gone, or a broker
    that hangs, that would take the kernel's own time of a quarter of an hour, in which no other one is dialled.
    """
    writer = getattr(
        client._transport, "_io_writer", None
    )  # none over WebSocket, and no other way to the socket
    found = None if writer is None else writer.get_extra_info("socket")
    if found is not None and hasattr(socket, "TCP_USER_TIMEOUT"):
        with contextlib.suppress(OSError):
            found.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, STALLED_TIMEOUT_S * 1000)


async def _hang_up(client: Client, dialling: "asyncio.Task[None]") -> None:
    dialling.cancel()
    with contextlib.suppress(asyncio.CancelledError, nats.errors.Error, OSError):
        await dialling
    await _close(client)


async def _close(client: Client) -> None:
    # The library asserts that one which is closed has begun to connect; it has not where it refuses an address.
    with contextlib.suppress(TimeoutError, nats.errors.Error, OSError, AssertionError):
        async with asyncio.timeout(CLOSE_TIMEOUT_S):
            await client.close()


def _why_not(failures: Iterable[Exception]) -> str:
    """Why no connection was made, and what to do. A broker that refuses the login may also just hang up."""
    reasons = [_reason(error) for error in failures]
    refused = next((reason for reason in reasons if "authorization" in reason.lower()), None)
    if refused is not None:
        ways = "HEED_NATS_CREDENTIALS, _NKEY, _TOKEN, or _USER with _PASSWORD"
        return f"{refused}; the broker wants another login ({ways})"
    remedy = "start `heed dev`, or start a broker with JetStream (nats-server -js)"
    return f"{reasons[-1]}; {remedy}, or name another one with HEED_NATS_URL or --nats"


def _reason(error: Exception) -> str:
    return str(error) or repr(error)
