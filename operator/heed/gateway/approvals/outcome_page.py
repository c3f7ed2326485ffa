"""Pages that say what became of an approval, or why a link leads to none."""

import re
from collections.abc import Mapping
from typing import Final

from aiohttp import web

from heed.gateway.approvals.form_page import label_of, show_time
from heed.gateway.approvals.frame import message_page
from heed.gateway.approvals.links import ApprovalLink
from heed.gateway.approvals.standing import LinkAnswer, Standing
from heed.gateway.refusals import RequestRefused

_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
_TITLES: Final = {
    400: "This cannot be read",
    403: "This was not sent from the page",
    408: "That took too long",
    409: "This link cannot be used",
    413: "This is too long",
    415: "This cannot be read",
    429: "Too many requests",
    503: "This is not possible right now",
}


def unknown_page() -> web.Response:
    """The page of what is no link: it tells nothing."""
    return message_page(
        404, "There is nothing here", "Check that the address is complete, or ask for a new link."
    )


def expired_page(link: ApprovalLink) -> web.Response:
    """The page of a link that may not be used any more."""
    said = f"It could be used until {show_time(link.expires_at)}. Ask for a new one if it is still needed."
    return message_page(410, "This link has expired", said)


def gone_page() -> web.Response:
    """The page of an approval of which nothing is known any more."""
    said = "It ended some time ago, or what asked was removed. There is nothing left to answer."
    return message_page(410, "This approval is over", said)


class RefusedPage(RequestRefused):
    """A refused request of a person: counted and logged as others, and answered with a page."""

    def __init__(self, refused: RequestRefused) -> None:
        super().__init__(refused.status, refused.code, refused.detail, headers=refused.headers)

    def response(self) -> web.Response:
        """The page."""
        title = _TITLES.get(self.status, "This did not work")
        detail = self.detail[:1].upper() + self.detail[1:] + ("" if self.detail.endswith(".") else ".")
        return message_page(self.status, title, detail, headers=self.headers)


def outcome_page(
    link: ApprovalLink, standing: Standing, gateway: str, *, status: int = 200
) -> web.Response | None:
    """The page of an approval that this link answers no more; None where it still may.

    `gateway` is the user that all links answer as. `status` is that of an answer which was given.
    """
    facts = {"Asked by": f"{link.agent} in {link.namespace}", "Approval": link.task}
    if standing.given is not None:
        return _given_page(standing, standing.given, status, facts)
    if standing.approval is not None:
        return None
    if (taken := standing.taken) is not None:
        facts |= {
            "Answer": label_of(None, taken.choice),
            "Given by": "another link" if taken.user == gateway else taken.user,
            "Given on": show_time(taken.at),
        }
        title = "Somebody else has answered already"
        return message_page(status, title, "There is nothing left to answer.", tone="wait", facts=facts)
    if (ended := standing.ended) is None:
        return gone_page()
    said = "Nobody had answered in time, and it was decided by itself."
    if ended.reason is not None:
        said = f"It ended without an answer ({ended.reason})."
    facts["Ended on"] = show_time(ended.ended_at)
    return message_page(410, "This approval is over", said, facts=facts)


def _given_page(standing: Standing, given: LinkAnswer, status: int, facts: Mapping[str, str]) -> web.Response:
    facts = {**facts, "Answer": label_of(standing.approval, given.choice), "Given on": show_time(given.at)}
    if given.accepted is None:
        said = "Heed takes it as soon as it comes to it. You may close this page."
        return message_page(status, "The answer is recorded", said, refresh=True, tone="wait", facts=facts)
    if given.accepted:
        return message_page(
            status, "Answered", "Thank you. You may close this page.", tone="good", facts=facts
        )
    why = f"Because {_TIME.sub(lambda found: show_time(found[0]), given.message)}."
    more = "This link cannot be used again. If an answer is still needed, ask for a new one."
    return message_page(status, "The answer does not count", why, more, tone="bad", facts=facts)
