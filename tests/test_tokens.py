"""Static tokens and scopes: long, random, kept as digests alone, and over soon after they are removed."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests import bearers
from tests.bearers import House
from tests.issuer import AUDIENCE, ISSUER

from kontext_edit.errors import InvalidArguments, ScopeMissing
from kontext_edit.team.identity import Jwts, StaticTokens, Verifier, owner_of
from kontext_edit.team.keys import CannotVerify
from kontext_edit.tokens import Token, digest, granted, may, new_token, token_name

house = bearers.house


async def test_a_static_token_is_known_by_its_name(house: House) -> None:
    access = await house.verifier.verify_token(house.book.add("anna", "edit"))
    assert access is not None
    assert (owner_of(access), access.scopes) == ("token:anna", ["edit", "read"])


async def test_a_wrong_static_token_is_nobodys_and_looked_up_each_time(house: House) -> None:
    good, wrong = house.book.add("anna", "read"), new_token()
    for token in (wrong, wrong, good[:-1], good + "A", good.swapcase(), "kxt_", good.removeprefix("kxt_")):
        assert not await house.knows(token)
    assert house.book.looked_up == 5


async def test_a_removed_static_token_ends_within_half_a_minute(house: House) -> None:
    token = house.book.add("anna", "read")
    assert await house.knows(token)
    house.book.kept.clear()
    assert await house.knows(token)
    house.clock.pass_by(30)
    assert not await house.knows(token)


async def test_a_static_token_is_looked_up_twice_a_minute_however_often_it_comes(house: House) -> None:
    token = house.book.add("anna", "read")
    for _ in range(59):
        assert await house.knows(token)
        house.clock.pass_by(1)
    assert house.book.looked_up == 2


async def test_no_verdict_is_given_while_the_journal_cannot_be_read(house: House) -> None:
    token = house.book.add("anna", "read")
    house.book.broken = True
    with pytest.raises(CannotVerify):
        await house.knows(token)


async def test_only_the_kinds_that_the_server_takes_are_looked_at(house: House) -> None:
    static = house.book.add("anna", "read")
    assert await Verifier(jwts=Jwts(ISSUER, AUDIENCE, house.keys, house.clock)).verify_token(static) is None
    assert await Verifier(StaticTokens(house.book, house.clock)).verify_token(house.issuer.token()) is None
    assert house.book.looked_up == 0
    assert house.issuer.asked == []


def test_a_new_token_is_long_random_and_kept_as_its_digest_alone() -> None:
    first, second = new_token(), new_token()
    assert first != second
    assert len(first) == len("kxt_") + 43
    assert digest(first) == hashlib.sha256(first.encode()).hexdigest()
    assert digest(first) not in repr(Token("anna", digest(first), ("edit",), 0))


@given(st.text(max_size=80))
def test_a_token_name_is_plain_or_refused(name: str) -> None:
    try:
        assert token_name(name) == name
    except InvalidArguments:
        assert not name.isascii() or not name.islower() or len(name) > 64 or not name.isalnum()
    else:
        assert name.isascii()
        assert name.isprintable()
        assert " " not in name


@pytest.mark.parametrize("name", ["", "Anna", "anna smith", "-x", "../x", "a" * 65, "anna\n", "änna"])
def test_a_name_that_could_be_mistaken_is_refused(name: str) -> None:
    with pytest.raises(InvalidArguments, match="1 to 64"):
        token_name(name)


@pytest.mark.parametrize(
    ("scopes", "allowed"),
    [((), ()), (("read",), ("read",)), (("edit",), ("read", "edit")), (("metrics", "x"), ("metrics",))],
    ids=str,
)
def test_edit_includes_read_and_nothing_else_includes_anything(
    scopes: tuple[str, ...], allowed: tuple[str, ...]
) -> None:
    assert granted(scopes) == set(allowed)
    assert {scope for scope in ("read", "edit", "metrics") if may(scopes, scope)} == set(allowed)


def test_a_missing_scope_is_told_to_the_assistant() -> None:
    problem = ScopeMissing("edit").problem
    assert "lacks the scope 'edit'" in problem.message
    assert "Calling again will not help" in problem.hint
    assert not problem.retryable
