"""Takes an event that says that an Agent asks, has the gateway make a link to the approval, and mails it.

Anything that goes wrong is answered 503: the Subscription delivers the event again, at worst a second mail is sent.
"""

import json
import os
import smtplib
import sys
import urllib.error
import urllib.request
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

MAX_BODY_BYTES, TIMEOUT_S = 64 * 1024, 8
SOURCE = "/apis/heed.dev/v1alpha1/namespaces/"


def make_link(source: str, session: str, task: str) -> dict[str, Any]:
    """The link to the approval that an Agent's session waits for. `source` is the Agent's: its path in the API."""
    namespace, _, agent = source.removeprefix(SOURCE).split("/")
    request = urllib.request.Request(
        f"{os.environ['GATEWAY']}/v1/approvals/{namespace}/{agent}/{task}/links",
        data=json.dumps({"for": os.environ["APPROVER"], "session": session, "valid": "24h"}).encode(),
        headers={"Authorization": f"Bearer {Path(os.environ['TOKEN_FILE']).read_text().strip()}"},
    )
    with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
        made: dict[str, Any] = json.load(answer)
        return made


def mail(link: dict[str, Any]) -> None:
    """Mail a link to who decides."""
    message = EmailMessage()
    message["From"], message["To"] = os.environ["SENDER"], os.environ["APPROVER"]
    message["Subject"] = link["title"]
    message.set_content(
        f"{link['title']}\n\nAnswer here, once, until {link['expiresAt']}:\n\n{link['url']}\n"
    )
    with smtplib.SMTP(os.environ["MAIL_HOST"], int(os.environ["MAIL_PORT"]), timeout=TIMEOUT_S) as server:
        server.send_message(message)


class Asked(BaseHTTPRequestHandler):
    """Deliveries of the Subscription, in binary mode."""

    def do_POST(self) -> None:
        """Answer 204 once the mail is on its way."""
        try:
            body = self.rfile.read(min(int(self.headers["Content-Length"]), MAX_BODY_BYTES))
            source, session = (unquote(self.headers[f"ce-{name}"]) for name in ("source", "correlationid"))
            mail(make_link(source, session, json.loads(body)["task"]))
        except (OSError, ValueError, KeyError, TypeError, smtplib.SMTPException) as error:
            reason = error.read().decode() if isinstance(error, urllib.error.HTTPError) else error
            print(f"not sent: {reason}", file=sys.stderr, flush=True)
            self.send_response(503)
        else:
            self.send_response(204)
        self.end_headers()


if __name__ == "__main__":
    ThreadingHTTPServer(("", int(os.environ["PORT"])), Asked).serve_forever()
