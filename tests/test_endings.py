"""What an edit ends as when it brings no picture, and that each ending says what is true and what to do."""

from dataclasses import replace

import pytest
from tests.test_journal import PROBLEM, new_task

from kontext_edit import endings
from kontext_edit.errors import Billed, LinkRefused, PictureNotSaved, TaskGone
from kontext_edit.task import NOVITA, SANDBOX, Status

TASK = new_task(task_id="up-1")
HERE = replace(TASK, provider=SANDBOX)


def test_an_edit_left_while_it_was_submitted_may_be_billed_and_is_not_sent_again() -> None:
    status, problem = endings.left_while_submitting(new_task())
    assert status is Status.UNKNOWN
    assert (problem.code, problem.billed, problem.retryable) == ("submission_unclear", Billed.MAYBE, False)
    assert "may have been accepted and billed" in problem.message
    assert "not sent again by itself" in problem.hint
    assert "force_new: true" in problem.hint
    assert "https://novita.ai/billing" in problem.hint


def test_what_upstream_could_not_do_says_why_with_its_id() -> None:
    status, problem = endings.failed_upstream(TASK, "no face found")
    assert status is Status.FAILED
    assert (problem.code, problem.billed) == ("edit_failed", Billed.MAYBE)
    assert "no face found" in problem.message
    assert "up-1" in problem.hint


def test_a_failure_without_a_reason_says_so() -> None:
    assert "it gave no reason" in endings.failed_upstream(TASK, "")[1].message


def test_a_task_that_upstream_never_knew_is_unclear() -> None:
    status, problem = endings.unknown_upstream(TASK, TaskGone("Nobody knows it."))
    assert status is Status.UNKNOWN
    assert problem.billed is Billed.MAYBE
    assert "up-1" in problem.message


def test_a_task_that_was_done_once_and_is_gone_is_lost() -> None:
    status, problem = endings.unknown_upstream(replace(TASK, error=PROBLEM), TaskGone("Nobody knows it."))
    assert status is Status.FAILED
    assert (problem.code, problem.billed) == ("picture_lost", Billed.YES)
    assert "up-1" in problem.hint


def test_links_that_are_too_old_mean_a_lost_picture() -> None:
    status, problem = endings.links_expired(TASK, LinkRefused("The link is no longer served (403)."))
    assert status is Status.FAILED
    assert (problem.code, problem.billed) == ("picture_lost", Billed.YES)
    assert "(403)" in problem.message


@pytest.mark.parametrize("hint", ["", "Make room."])
def test_an_obstacle_says_how_the_picture_is_had(hint: str) -> None:
    problem = endings.obstacle(PictureNotSaved("It did not work.", hint))
    assert (problem.billed, problem.retryable) == (Billed.YES, True)
    assert problem.hint == hint or (not hint and "Call get_task" in problem.hint)


def test_the_end_of_a_sandbox_costs_nothing_however_it_came() -> None:
    for status, problem in (
        endings.left_while_submitting(HERE),
        endings.unknown_upstream(HERE, TaskGone("Nobody knows it.")),
        endings.unknown_upstream(replace(HERE, error=PROBLEM), TaskGone("Nobody knows it.")),
    ):
        assert status is Status.FAILED
        assert "The sandbox that had this edit has ended" in problem.message
        assert "free of charge" in problem.hint
    assert replace(HERE, status=Status.FAILED, error=problem).billed is Billed.NO
    assert replace(HERE, provider=NOVITA, status=Status.FAILED, error=problem).billed is Billed.MAYBE
