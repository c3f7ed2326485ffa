"""Pages that say what became of an approval, or why a link leads to none."""

from typing import Final

from aiohttp import web

from heed.gateway.approvals.form_page import label_of, show_time
from heed.gateway.approvals.frame import message_page
from heed.gateway.approvals.links import ApprovalLink
from heed.gateway.approvals.standing import LinkAnswer, Standing
from heed.gateway.refusals import RequestRefused

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


def refusal_page(refused: RequestRefused) -> web.Response:
    """The page of a request that was refused."""
    title = _TITLES.get(refused.status, "This did not work")
    detail = refused.detail[:1].upper() + refused.detail[1:] + ("" if refused.detail.endswith(".") else ".")
    return message_page(refused.status, title, detail, headers=refused.headers)


def outcome_page(standing: Standing, gateway: str, *, status: int = 200) -> web.Response | None:
    """The page of an approval that this link answers no more; None where it still may.

    `gateway` is the user that all links answer as. `status` is that of an answer which was given.
    """
    if standing.given is not None:
        return _given_page(standing, standing.given, status)
    if standing.approval is not None:
        return None
    if (taken := standing.taken) is not None:
        who = "by another link" if taken.user == gateway else f"by {taken.user}"
        said = f"{label_of(None, taken.choice)}, {who}, on {show_time(taken.at)}. There is nothing left to answer."
        return message_page(status, "Somebody else has answered already", said, tone="wait")
    if (ended := standing.ended) is None:
        return gone_page()
    if ended.reason is None:
        said = f"Nobody had answered in time, and it was decided by itself on {show_time(ended.ended_at)}."
    else:
        said = f"It ended without an answer on {show_time(ended.ended_at)} ({ended.reason})."
    return message_page(410, "This approval is over", said)


def _given_page(standing: Standing, given: LinkAnswer, status: int) -> web.Response:
    said = f"{label_of(standing.approval, given.choice)}, on {show_time(given.at)}."
    if given.accepted is None:
        more = "It will be taken as soon as Heed comes to it. You may close this page."
        return message_page(
            status, "This link was used, and the answer is recorded", said, more, refresh=True, tone="wait"
        )
    if given.accepted:
        return message_page(status, "Answered", said, "Thank you. You may close this page.", tone="good")
    why = f"{given.message[:1].upper()}{given.message[1:]}."
    more = "This link cannot be used again. If an answer is still needed, ask for a new one."
    return message_page(status, "The answer does not count", said, why, more, tone="bad")
