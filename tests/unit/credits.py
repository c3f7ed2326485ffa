"""Readers that share what may be asked for, without any broker."""

from dataclasses import dataclass, field

from heed.bus.client.flow_control import CreditPool, ReaderCredit

MIB = 1024**2
ENVELOPE = 256  # what a message counts for beside its data as long as it is in flight
OBJECTS = 1024  # and once it is here


@dataclass
class Reader:
    """A reader that asks for more as long as it may, and notes for how much it asked."""

    credits: CreditPool
    max_payload: int = MIB
    asked: list[int] = field(default_factory=list)
    credit: ReaderCredit = field(init=False)

    def __post_init__(self) -> None:
        self.credit = self.credits.open(self.max_payload, self.asked.append)

    def want(self) -> "Reader":
        self.credit.request_turn()
        return self

    def got(self, size: int) -> "Reader":
        """A message came that counts for so many bytes, and the request is over."""
        self.credit.add_held(size - OBJECTS)
        self.credit.end_request()
        return self
