"""What the door says to requests that it does not let in: a status, and words for the assistant behind it.

The body is a JSON-RPC error without an id, which clients of MCP hand on to their assistant, whatever the
status; other clients find the same sentence under `error.message`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from starlette.responses import JSONResponse

from kontext_edit.errors import Billed

_JSON_RPC_CODE = -32010
"""Of those that the protocol leaves to implementations."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request is not let in, and what to do next."""

    status: int
    code: str
    message: str
    hint: str
    retryable: bool = False
    headers: Mapping[str, str] = field(default_factory=dict[str, str])

    def response(self) -> JSONResponse:
        """The answer over HTTP."""
        problem = {"code": self.code, "hint": self.hint, "retryable": self.retryable, "billed": Billed.NO}
        error = {"code": _JSON_RPC_CODE, "message": f"{self.message} {self.hint}", "data": problem}
        return JSONResponse(
            {"jsonrpc": "2.0", "id": None, "error": error}, self.status, headers=dict(self.headers)
        )


_CLOSE = {"connection": "close"}

TOO_LARGE = Refusal(
    413,
    "request_too_large",
    "The request is larger than this server takes; nothing was done.",
    "Give large pictures as links, or make them smaller.",
    headers=_CLOSE,
)
TOO_SLOW = Refusal(
    408,
    "request_too_slow",
    "The request came too slowly and was given up; nothing was done.",
    "Send it again; over a slow line, give pictures as links or make them smaller.",
    retryable=True,
    headers=_CLOSE,
)
TARGET_TOO_LONG = Refusal(414, "address_too_long", "The address is too long.", "Use the addresses as told.")
HEADERS_TOO_LARGE = Refusal(
    431, "headers_too_large", "The request's headers are too large or too many.", "Send fewer of them."
)
HEADER_TWICE = Refusal(
    400, "header_twice", "A header that must be unique came more than once.", "Send each of them once."
)
TWO_LENGTHS = Refusal(
    400,
    "two_lengths",
    "The request tells the length of its body in two ways.",
    "Send Content-Length or Transfer-Encoding, not both.",
    headers=_CLOSE,
)
"""A proxy in front may believe the other one, and take the rest of the body for somebody's next request."""
NOTHING_HERE = Refusal(404, "nothing_here", "There is nothing at this address.", "MCP is served at /mcp.")
WRONG_HOST = Refusal(
    421,
    "wrong_host",
    "This server is not called by this name.",
    "Use the address that whoever runs it gave out.",
)
WRONG_ORIGIN = Refusal(
    403, "wrong_origin", "Pages of this website may not talk to this server.", "Use another client."
)
TOO_MANY_CALLS = Refusal(
    429,
    "too_many_calls",
    "Too many requests of this caller are open at once; nothing was done.",
    "Wait until some of them have ended, then send this one again.",
    retryable=True,
    headers={"retry-after": "5"},
)
CANNOT_VERIFY = Refusal(
    503,
    "cannot_verify",
    "Whether the access token is good cannot be told at present; nothing was done.",
    "The token may well be fine: send the request again in half a minute.",
    retryable=True,
    headers={"retry-after": "30"},
)
