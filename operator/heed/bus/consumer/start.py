"""Where a consumer begins that is to deliver what was stored from a time on.

nats-server 2.15 begins too late where a consumer of several subjects says `by_start_time`: at the first message that is
on one of them for the first time after it, also where others have messages before. So the place is asked for.
"""

from collections.abc import Sequence
from typing import Any

from heed.bus.client.stored_messages import StoredMessages


async def start_since(
    messages: StoredMessages, subjects: Sequence[str], since: str, last: int
) -> dict[str, Any]:
    """The start of a consumer, as the members of its configuration, from a stream time (RFC 3339) on.

    `last` is the stream's last sequence as of before. Raises BusUnavailable.
    """
    if len(subjects) == 1:
        return {"deliver_policy": "by_start_time", "opt_start_time": since}
    first = await messages.first_since(since)
    return {"deliver_policy": "by_start_sequence", "opt_start_seq": last + 1 if first is None else first}
