"""What can go wrong, written for the assistant that has to act on it.

KontextError
├── InvalidArguments        a call that a smarter caller would not have made
├── PictureRefused          a source that cannot be read, or must not leave the machine
├── NoSuchTask              an id that nobody here knows
│   └── NoSuchResource      an address at which there is nothing
├── UpstreamError           the editing API said no; nothing was billed
│   ├── KeyRejected         no key, a wrong key, or one without the right
│   ├── BalanceTooLow       the account is empty
│   ├── ContentRejected     the prompt or a picture was refused by moderation
│   ├── ParameterRefused    the API does not take a value
│   ├── RateLimited         too many requests, also after waiting
│   ├── Unavailable         not reachable, or overloaded, also after waiting
│   └── TaskGone            the API does not know the task (any more)
├── BudgetExceeded          the person's limit is reached; nothing was sent
├── ScopeMissing            the bearer's token does not allow this; nothing was done
├── TooManyEdits            more than this server allows one owner; nothing was sent
├── ConsentMissing          the person was not asked, or did not agree; nothing was sent
├── FateUnknown             the same was asked before, and may have been billed
├── SubmissionUnclear       the request went out and no answer came: it may have been billed
├── EditFailed              the API took the edit and could not do it
├── PictureLost             the edit was done, and its pictures can no longer be had
├── PictureNotSaved         the edit is done, and saving its pictures did not work yet
│   └── LinkRefused         the link to a picture is not served any more
├── JournalUnavailable      nothing is sent while it cannot be written down
├── InvalidSettings         the person's settings cannot be used
└── InternalError           a fault of this server
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

_PROBLEMS_TOLD = 20
"""A call can have any number; more than these would only fill the reader's context."""


class Billed(StrEnum):
    """Whether money moved."""

    NO = "no"
    MAYBE = "maybe"
    YES = "yes"


@dataclass(frozen=True, slots=True)
class Problem:
    """An error as data: what a result shows and the journal keeps."""

    code: str
    message: str
    hint: str
    retryable: bool
    billed: Billed


class KontextError(Exception):
    """The root. `message` says what was wrong, `hint` what to do next."""

    code: ClassVar[str] = "error"
    retryable: ClassVar[bool] = False
    billed: ClassVar[Billed] = Billed.NO

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    @property
    def problem(self) -> Problem:
        """This error as data."""
        return Problem(self.code, self.message, self.hint, self.retryable, self.billed)


class InvalidArguments(KontextError):
    """Every problem of a call in one error; nothing was sent."""

    code = "invalid_arguments"

    def __init__(self, problems: list[str], hint: str = "") -> None:
        told, rest = problems[:_PROBLEMS_TOLD], len(problems) - _PROBLEMS_TOLD
        super().__init__(" ".join(told) + (f" And {rest} more." if rest > 0 else ""), hint)
        self.problems = problems


class PictureRefused(KontextError):
    """A source that cannot be read or must not leave the machine; nothing was sent."""

    code = "picture_refused"


class NoSuchTask(KontextError):
    """An id that is not in the journal."""

    code = "no_such_task"


class NoSuchResource(NoSuchTask):
    """An address at which there is nothing."""

    code = "no_such_resource"


class UpstreamError(KontextError):
    """The editing API said no; nothing was billed."""

    code = "upstream_error"
    retry_after: float | None = None
    """Seconds that the API asked to wait."""


class KeyRejected(UpstreamError):
    """No key, a wrong key, or one without the right."""

    code = "key_rejected"


class BalanceTooLow(UpstreamError):
    """The account is empty."""

    code = "balance_too_low"


class ContentRejected(UpstreamError):
    """The prompt or a picture was refused by moderation."""

    code = "content_rejected"


class ParameterRefused(UpstreamError):
    """The API does not take a value that the spec admits."""

    code = "parameter_refused"


class RateLimited(UpstreamError):
    """Too many requests, also after waiting."""

    code = "rate_limited"
    retryable = True


class Unavailable(UpstreamError):
    """Not reachable or overloaded, also after waiting."""

    code = "unavailable"
    retryable = True


class TaskGone(UpstreamError):
    """The API does not know the task."""

    code = "task_gone"


class BudgetExceeded(KontextError):
    """The person's limit for a day or a month is reached; nothing was sent."""

    code = "budget_exceeded"


class ScopeMissing(KontextError):
    """The bearer's token does not allow this; nothing was done."""

    code = "scope_missing"

    def __init__(self, scope: str) -> None:
        super().__init__(
            f"The access token of this connection may not do that: it lacks the scope {scope!r}.",
            "Calling again will not help. Ask the person for access with that scope, which whoever runs this "
            "server grants. What the token allows still works: with 'read' that is listing and looking at "
            "edits, and prices.",
        )


class TooManyEdits(KontextError):
    """More at once, or within a minute, than this server allows one owner; nothing was sent."""

    code = "too_many_edits"
    retryable = True


class ConsentMissing(KontextError):
    """The person could not be asked about a dear edit, or did not agree; nothing was sent."""

    code = "consent_missing"


class FateUnknown(KontextError):
    """The same request was submitted before, and nobody knows whether it was billed; nothing was sent now."""

    code = "fate_unknown"

    def __init__(self, handle: str, price: str) -> None:
        super().__init__(
            f"The same edit was submitted before (task {handle}) and got no clear answer: it may have been "
            f"billed, {price} USD. Nothing was sent now.",
            "Tell the person; the usage on https://novita.ai/billing shows whether it was. If they want it "
            "bought again, call with force_new: true.",
        )


class SubmissionUnclear(KontextError):
    """The request went out and no answer came: it may have been billed, so it is never repeated."""

    code = "submission_unclear"
    billed = Billed.MAYBE


class EditFailed(KontextError):
    """The API took the edit and could not do it."""

    code = "edit_failed"
    retryable = True
    billed = Billed.MAYBE


class PictureLost(KontextError):
    """The edit was done, and its pictures can no longer be had."""

    code = "picture_lost"
    billed = Billed.YES


class PictureNotSaved(KontextError):
    """The edit is done, and saving its pictures did not work yet."""

    code = "picture_not_saved"
    retryable = True
    billed = Billed.YES


class LinkRefused(PictureNotSaved):
    """The link to a picture is not served any more; a new one has to be asked for."""

    code = "link_refused"


class JournalUnavailable(KontextError):
    """Nothing is sent while it cannot be written down."""

    code = "journal_unavailable"
    retryable = True


class InvalidSettings(KontextError):
    """Every problem of the settings in one error; nothing was sent."""

    code = "invalid_settings"

    def __init__(self, problems: list[str]) -> None:
        super().__init__(
            " ".join(problems),
            "Ask the person to correct these settings where this server is configured, and to restart it.",
        )


class InternalError(KontextError):
    """A fault of this server; its log has the rest."""

    code = "internal_error"
    billed = Billed.MAYBE

    def __init__(self) -> None:
        super().__init__(
            "This server made a mistake of its own; what it was stands in its log.",
            "An edit that was begun goes on. Do not simply call edit_image again: it may buy the edit twice.",
        )
