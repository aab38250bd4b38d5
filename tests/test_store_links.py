"""Links of our own: they lead to one picture, for a while, and nobody else can make one."""

from hypothesis import assume, given
from hypothesis import strategies as st
from tests.clock import FakeClock
from tests.stores import PUBLIC_URL, SECRET, links

from kontext_edit.store.links import SignedLinks

KEY = "pictures/0123456789abcdef/2026-11-21/edit-1-1.png"


def token_for(key: str, clock: FakeClock, seconds: float = 60) -> str:
    return links(clock).url_for(key, clock.now() + seconds).removeprefix(f"{PUBLIC_URL}/pictures/")


@given(key=st.text(max_size=100))
def test_a_link_leads_to_its_picture_and_is_a_plain_address(key: str) -> None:
    key = key.encode("utf-8", "ignore").decode()
    clock = FakeClock()
    token = token_for(key, clock)
    assert links(clock).open(token) == key
    assert all(sign.isascii() and (sign.isalnum() or sign in "._-") for sign in token)


def test_a_link_works_until_it_expires_and_not_a_second_longer() -> None:
    clock = FakeClock()
    token = token_for(KEY, clock)
    clock.jump(60)
    assert links(clock).open(token) == KEY
    clock.jump(1)
    assert links(clock).open(token) is None


@given(place=st.integers(0, 200), sign=st.characters())
def test_a_link_with_any_sign_changed_is_refused(place: int, sign: str) -> None:
    clock = FakeClock()
    token = token_for(KEY, clock)
    place %= len(token)
    changed = token[:place] + sign + token[place + 1 :]
    assume(changed != token)
    assert links(clock).open(changed) is None


@given(
    token=st.text(max_size=300)
    | st.from_regex(r"[0-9]{1,12}\.[A-Za-z0-9_-]{0,40}\.[0-9a-f]{64}", fullmatch=True)
)
def test_what_was_not_made_here_is_refused(token: str) -> None:
    assert links(FakeClock()).open(token) is None


@given(cut=st.integers(1, 60), more=st.text(min_size=1, max_size=20))
def test_a_link_that_was_cut_or_continued_is_refused(cut: int, more: str) -> None:
    clock = FakeClock()
    token = token_for(KEY, clock)
    for changed in (token[:-cut], token[cut:], token + more, more + token):
        assert links(clock).open(changed) is None


def test_a_longer_life_cannot_be_written_into_a_link() -> None:
    clock = FakeClock()
    short, long = token_for(KEY, clock), token_for(KEY, clock, seconds=6000)
    assert links(clock).open(long.rpartition(".")[0] + "." + short.rpartition(".")[2]) is None


def test_a_link_of_another_deployment_is_refused() -> None:
    clock = FakeClock()
    theirs = SignedLinks(PUBLIC_URL, SECRET + b"!", clock)
    token = theirs.url_for(KEY, clock.now() + 60).rpartition("/")[2]
    assert theirs.open(token) == KEY
    assert links(clock).open(token) is None
