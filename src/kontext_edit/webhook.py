"""The address at which upstream tells that an edit is done.

Upstream does not sign what it posts [docs]. So the address itself is the secret: each edit has one of its own
that nobody can guess, and whatever arrives there is taken as a ring of a bell and nothing more. What became
of the edit is then asked upstream.
"""

import hmac
import secrets
from base64 import urlsafe_b64encode
from urllib.parse import quote

from kontext_edit.pace import Noticeboard

PATH = "/webhooks/{edit_id}/{mark}"
"""Below the public URL."""

_SECRET = "webhook-secret"  # noqa: S105 - the name under which it is kept
_SECRET_BYTES = 32


class Webhook:
    """Makes the addresses of edits, and knows them again.

    Args:
        public_url: where upstream reaches this server, without a slash at its end.
        secret: the deployment's; all its processes have the same.
    """

    def __init__(self, public_url: str, secret: bytes) -> None:
        self._public_url = public_url.rstrip("/")
        self._secret = secret

    def url_for(self, edit_id: str) -> str:
        """Where upstream tells of this edit."""
        return self._public_url + PATH.format(edit_id=quote(edit_id, safe=""), mark=self._mark(edit_id))

    def edit_of(self, edit_id: str, mark: str) -> str | None:
        """The edit that rings, by the decoded parts of the path; None for an address that was not made here.

        Takes the same time whichever part of a wrong mark is right.
        """
        expected = self._mark(edit_id).encode()
        return edit_id if hmac.compare_digest(mark.encode(errors="replace"), expected) else None

    def _mark(self, edit_id: str) -> str:
        told = f"webhook {edit_id}".encode(errors="backslashreplace")
        return urlsafe_b64encode(hmac.digest(self._secret, told, "sha256")).decode().rstrip("=")


async def deployment_secret(board: Noticeboard) -> bytes:
    """The secret that all processes of a deployment share; the first of them makes it up."""
    made_up = secrets.token_hex(_SECRET_BYTES)
    return bytes.fromhex(await board.shared(_SECRET, lambda known: known or made_up))
