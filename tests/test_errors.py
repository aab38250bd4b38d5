"""The error tree as it is told, and the vendor's documented errors as they reach us."""

import importlib
import pkgutil
import re
from collections.abc import Iterator

import pytest
from pydantic import SecretStr
from tests.clock import FakeClock
from tests.conftest import KEY
from tests.facts import facts
from tests.upstreams import Upstream, error

import kontext_edit
from kontext_edit import errors
from kontext_edit.errors import (
    BalanceTooLow,
    Billed,
    ContentRejected,
    InternalError,
    InvalidArguments,
    InvalidSettings,
    KeyRejected,
    KontextError,
    ParameterRefused,
    Problem,
    RateLimited,
    SubmissionUnclear,
    TaskGone,
    Unavailable,
    UpstreamError,
)
from kontext_edit.novita import Novita

Tree = dict[str, "Tree"]


def real_tree(root: type[KontextError] = KontextError) -> Tree:
    return {child.__name__: real_tree(child) for child in root.__subclasses__()}


def told_tree() -> Tree:
    """The tree of the module's docstring."""
    assert errors.__doc__ is not None
    branches: list[Tree] = [{}]
    for line in errors.__doc__.splitlines():
        if found := re.match(r"([│ ]*)[├└]── (\w+) {2,}\S", line):
            del branches[len(found[1]) // 4 + 1 :]
            branches.append(branches[-1].setdefault(found[2], {}))
    return branches[0]


def all_errors(root: type[KontextError] = KontextError) -> Iterator[type[KontextError]]:
    yield root
    for child in root.__subclasses__():
        yield from all_errors(child)


@pytest.fixture(scope="module")
def _the_whole_package() -> None:
    """An error of any module counts, also of one that no test has imported."""
    for module in pkgutil.walk_packages(kontext_edit.__path__, "kontext_edit."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)


@pytest.mark.usefixtures("_the_whole_package")
def test_the_docstring_tells_the_tree_as_it_is() -> None:
    assert "KontextError\n" in (errors.__doc__ or "")
    assert told_tree() == real_tree()


@pytest.mark.usefixtures("_the_whole_package")
def test_every_error_is_at_home_in_one_module() -> None:
    assert {kind.__module__ for kind in all_errors()} == {errors.__name__}


@pytest.mark.usefixtures("_the_whole_package")
def test_every_error_has_a_code_of_its_own() -> None:
    codes = [vars(kind).get("code") for kind in all_errors()]
    assert all(isinstance(code, str) and re.fullmatch(r"[a-z]+(_[a-z]+)*", code) for code in codes)
    assert len(set(codes)) == len(codes)


@pytest.mark.usefixtures("_the_whole_package")
def test_what_upstream_refused_was_not_billed() -> None:
    assert {kind.billed for kind in all_errors(UpstreamError)} == {Billed.NO}


def test_an_error_is_data_as_well() -> None:
    assert RateLimited("Too many.", "Wait.").problem == Problem(
        code="rate_limited", message="Too many.", hint="Wait.", retryable=True, billed=Billed.NO
    )
    assert str(RateLimited("Too many.", "Wait.")) == "Too many."


def test_all_problems_of_a_call_or_of_the_settings_are_one_message() -> None:
    assert InvalidArguments(["One.", "Two."], "Do.").problem.message == "One. Two."
    assert InvalidSettings(["One.", "Two."]).problem.message == "One. Two."


def test_a_fault_of_ours_does_not_invite_a_second_purchase() -> None:
    problem = InternalError().problem
    assert not problem.retryable
    assert problem.billed is Billed.MAYBE
    assert "Do not simply call edit_image again" in problem.hint


DOCUMENTED = facts("errors")
REASONS = [(int(status), reason) for status, reasons in DOCUMENTED["reasons"].items() for reason in reasons]
BECOMES: dict[str, type[KontextError]] = {
    "INVALID_REQUEST_BODY": ParameterRefused,
    "IMAGE_FILE_EXCEEDS_MAX_SIZE": ParameterRefused,
    "INVALID_IMAGE_FORMAT": ParameterRefused,
    "IMAGE_EXCEEDS_MAX_RESOLUTION": ParameterRefused,
    "INVALID_IMAGE_SIZE": ParameterRefused,
    "ILLEGAL_PROMPT": ContentRejected,
    "ILLEGAL_IMAGE_CONTENT": ContentRejected,
    "BILLING_BALANCE_NOT_ENOUGH": BalanceTooLow,
    "MISSING_API_KEY": KeyRejected,
    "INVALID_API_KEY": KeyRejected,
    "API_NOT_ALLOWED": KeyRejected,
    "FEATURE_NOT_ALLOWED": KeyRejected,
    "BILLING_AUTH_FAILED": KeyRejected,
    "NEED_REAL_NAME_VERIFY": KeyRejected,
    "TASK_NOT_FOUND": TaskGone,
    "API_NOT_FOUND": UpstreamError,
    "RATE_LIMIT_EXCEEDED": RateLimited,
    "CREATE_TASK_FAILED": Unavailable,
    "BILLING_FAILED": Unavailable,
    "GET_RESULT_FAILED": SubmissionUnclear,
    "TASK_FAILED": SubmissionUnclear,
}
"""What a submission that is answered with a documented reason becomes."""
WITHOUT_REASON: dict[int, type[KontextError]] = {401: KeyRejected, 503: Unavailable, 504: SubmissionUnclear}


async def submission_error(status: int, reason: str, clock: FakeClock) -> tuple[KontextError, int]:
    """What a submission becomes, and how often it was sent."""
    upstream = Upstream(error(status, reason))
    novita = Novita("https://api.example", SecretStr(KEY), clock, upstream.transport)
    with pytest.raises(KontextError) as caught:
        await novita.submit("/v3/async/flux-1-kontext-pro", {"prompt": "x", "images": ["data:,"]})
    await novita.close()
    return caught.value, len(upstream.requests)


def test_every_documented_reason_has_its_error() -> None:
    assert {reason for _, reason in REASONS} == set(BECOMES)
    assert set(DOCUMENTED["without_reason"]) == set(WITHOUT_REASON)


@pytest.mark.parametrize(("status", "reason"), REASONS)
async def test_a_documented_reason_becomes_an_error_with_a_hint(
    status: int, reason: str, clock: FakeClock
) -> None:
    found, _ = await submission_error(status, reason, clock)
    assert type(found) is BECOMES[reason]
    assert found.hint


@pytest.mark.parametrize("status", DOCUMENTED["without_reason"])
async def test_a_documented_status_without_a_reason_becomes_an_error_with_a_hint(
    status: int, clock: FakeClock
) -> None:
    found, _ = await submission_error(status, "", clock)
    assert type(found) is WITHOUT_REASON[status]
    assert found.hint


@pytest.mark.parametrize("reason", DOCUMENTED["reasons"]["500"])
async def test_a_500_is_repeated_only_where_the_vendor_says_that_no_task_was_made(
    reason: str, clock: FakeClock
) -> None:
    found, sent = await submission_error(500, reason, clock)
    made_none = reason in DOCUMENTED["no_task_was_made"]
    assert (sent > 1) is made_none
    assert found.billed is (Billed.NO if made_none else Billed.MAYBE)
