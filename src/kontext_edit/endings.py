"""What an edit ends as when it brings no picture: pure functions from what happened to what is told."""

from kontext_edit.errors import (
    EditFailed,
    PictureLost,
    PictureNotSaved,
    Problem,
    SubmissionUnclear,
    TaskGone,
    Unavailable,
)
from kontext_edit.task import SANDBOX, Status, Task

Ending = tuple[Status, Problem]

LINK_SECONDS = 3600
"""How long a link to a result lives [docs]; a refused link before that is a passing fault."""

_USAGE = "Tell the person; the usage on https://novita.ai/billing shows whether it was."


def left_while_submitting(task: Task) -> Ending:
    """Its process ended between the first word in the journal and upstream's answer."""
    if task.provider == SANDBOX:
        return _sandbox_ended()
    unclear = SubmissionUnclear(
        "The server was stopped while it submitted this edit: it may have been accepted and billed.",
        f"It is not sent again by itself. {_USAGE} To buy it again: force_new: true.",
    )
    return Status.UNKNOWN, unclear.problem


def left_waiting() -> Ending:
    """Its process ended before its turn came."""
    unsent = Unavailable(
        "The server was stopped before this edit's turn came: it was not sent, and nothing was billed.",
        "Call edit_image again with the same arguments.",
    )
    return Status.FAILED, unsent.problem


def failed_upstream(task: Task, reason: str) -> Ending:
    """Upstream says that it could not do the edit."""
    failed = EditFailed(
        f"The API could not do the edit: {reason or 'it gave no reason'}.",
        "Word the instruction differently, or use another picture or tier. The API does not say whether a "
        f"failed task is billed; its id is {task.handle}.",
    )
    return Status.FAILED, failed.problem


def unknown_upstream(task: Task, error: TaskGone) -> Ending:
    """Upstream does not know the task: lost if it was done once, else nobody can tell."""
    if task.provider == SANDBOX:
        return _sandbox_ended()
    if task.error is not None:
        return _lost(task, f"The edit was done, and the API no longer has its picture: {error.message}")
    unclear = SubmissionUnclear(
        f"The API no longer knows the task {task.handle}; it may have been billed. {error.message}", _USAGE
    )
    return Status.UNKNOWN, unclear.problem


def links_expired(task: Task, error: PictureNotSaved) -> Ending:
    """The links to its pictures are refused, and too old to hope."""
    return _lost(task, f"{error.message} The edit was done, and its picture cannot be had any more.")


def obstacle(error: PictureNotSaved) -> Problem:
    """What keeps a finished edit's pictures from being saved, for now."""
    hint = error.hint or "Call get_task with this task_id: it is fetched again, and not billed again."
    return PictureNotSaved(error.message, hint).problem


def _lost(task: Task, message: str) -> Ending:
    hint = f"Tell the person; Novita's support may help with the task id {task.handle}."
    return Status.FAILED, PictureLost(message, hint).problem


def _sandbox_ended() -> Ending:
    gone = EditFailed("The sandbox that had this edit has ended.", "Call edit_image again, free of charge.")
    return Status.FAILED, gone.problem
