"""Links of our own to pictures, for stores that cannot sign any: `{public_url}/pictures/<token>`.

A token holds the picture's key, the moment at which it stops to work, and an HMAC of both.
"""

import base64
import hashlib
import hmac

from kontext_edit.clock import Clock

_PURPOSE = b"kontext-edit picture link 1\0"
"""What the deployment's secret is used for here, so that nothing signed elsewhere passes for a link."""
_LONGEST_TOKEN = 1024


class SignedLinks:
    """Makes links, and tells which picture one stands for.

    Args:
        public_url: where callers reach the server, without a slash at its end.
        secret: the deployment's; all replicas have the same.
        clock: tells when a link has expired.
    """

    def __init__(self, public_url: str, secret: bytes, clock: Clock) -> None:
        self._public_url = public_url
        self._secret = secret
        self._clock = clock

    def url_for(self, key: str, expires_at: float) -> str:
        """A link to the picture with this key, until `expires_at`, in seconds since the epoch."""
        name = base64.urlsafe_b64encode(key.encode()).decode().rstrip("=")
        text = f"{int(expires_at)}.{name}"
        return f"{self._public_url}/pictures/{text}.{self._mark(text)}"

    def open(self, token: str) -> str | None:
        """The key that a token stands for; None where it was not made here, or does not work any more."""
        text, _, mark = token.rpartition(".")
        # Compared as they are written: base64 has several spellings of one value.
        if (
            not token.isascii()
            or len(token) > _LONGEST_TOKEN
            or not hmac.compare_digest(mark, self._mark(text))
        ):
            return None
        expires_at, _, name = text.partition(".")
        if int(expires_at) < self._clock.now():
            return None
        return base64.urlsafe_b64decode(name + "=" * (-len(name) % 4)).decode()

    def _mark(self, text: str) -> str:
        return hmac.new(self._secret, _PURPOSE + text.encode(), hashlib.sha256).hexdigest()
