"""The issuer's keys: fetched rarely, whatever arrives, and never lost while it is out of reach."""

import asyncio

import pytest
from starlette.responses import JSONResponse, Response
from tests import bearers
from tests.bearers import House
from tests.clock import FakeClock
from tests.issuer import AUDIENCE, ISSUER, Issuer, SigningKey, served_issuer

from kontext_edit.clock import SystemClock
from kontext_edit.errors import InvalidSettings
from kontext_edit.team.identity import Jwts
from kontext_edit.team.keys import CannotVerify, IssuerKeys

house = bearers.house

DAY = 24 * 3600


async def test_keys_are_fetched_once_for_many_tokens(house: House) -> None:
    assert all(await asyncio.gather(*(house.knows(house.issuer.token()) for _ in range(50))))
    assert house.issuer.asked.count("/team/keys") == 1


async def test_a_storm_of_unknown_key_ids_is_one_fetch_a_minute(house: House) -> None:
    stranger = SigningKey.make("k1", number=1)
    assert await house.knows(house.issuer.token())
    for _ in range(3):
        house.clock.pass_by(61)
        storm = [house.issuer.token(stranger, {"kid": f"random-{number}"}) for number in range(30)]
        assert not any(await asyncio.gather(*map(house.knows, storm)))
        assert await house.knows(house.issuer.token())
    assert house.issuer.asked.count("/team/keys") == 4


async def test_a_new_key_is_fetched_when_it_is_first_seen(house: House) -> None:
    old = house.issuer.token()
    assert await house.knows(old)
    house.issuer.keys = [SigningKey.make("k2", number=1), house.issuer.keys[0]]
    house.clock.pass_by(61)
    assert await house.knows(house.issuer.token())
    assert await house.knows(old)


async def test_a_withdrawn_key_ends_within_the_hour(house: House) -> None:
    withdrawn = house.issuer.keys[0]
    assert await house.knows(house.issuer.token())
    house.issuer.keys = [SigningKey.make("k2", number=1)]
    house.clock.pass_by(3601)
    assert not await house.knows(house.issuer.token(withdrawn, exp=house.clock.now() + 60))


async def test_known_keys_go_on_while_the_issuer_is_out_of_reach(house: House) -> None:
    token = house.issuer.token(exp=house.clock.now() + DAY)
    assert await house.knows(token)
    house.issuer.down = True
    for _ in range(4):
        house.clock.pass_by(3601)
        assert await house.knows(token)


async def test_no_verdict_is_given_without_keys_and_the_issuer_is_asked_again_soon(house: House) -> None:
    house.issuer.down = True
    for _ in range(5):
        with pytest.raises(CannotVerify):
            await house.knows(house.issuer.token())
    assert len(house.issuer.asked) == 1
    house.issuer.down = False
    house.clock.pass_by(11)
    assert await house.knows(house.issuer.token())


async def test_no_verdict_is_given_on_an_unknown_key_while_the_issuer_is_out_of_reach(house: House) -> None:
    assert await house.knows(house.issuer.token())
    house.issuer.down = True
    house.clock.pass_by(61)
    with pytest.raises(CannotVerify):
        await house.knows(house.issuer.token(SigningKey.make("k2", number=1)))


@pytest.mark.parametrize(
    "answer",
    [
        Response("not JSON"),
        Response("[" * 100_000),
        JSONResponse({}),
        JSONResponse([]),
        JSONResponse({"keys": []}),
        JSONResponse({"keys": [{"kty": "EC", "kid": "k1", "crv": "P-256", "x": "x", "y": "y"}]}),
        JSONResponse({"keys": ["k1"]}),
        Response(" " * 600_000),
        Response(status_code=500),
        Response(status_code=302, headers={"location": "https://evil.example/keys"}),
    ],
    ids=range(10),
)
async def test_an_answer_without_keys_leaves_the_known_ones(answer: Response, house: House) -> None:
    token = house.issuer.token(exp=house.clock.now() + DAY)
    assert await house.knows(token)
    house.issuer.answers["/team/keys"] = answer
    house.clock.pass_by(3601)
    assert await house.knows(token)
    with pytest.raises(CannotVerify):
        await house.knows(house.issuer.token(SigningKey.make("k2", number=1)))


async def test_a_caller_that_leaves_during_a_fetch_does_not_let_others_fetch_at_once(house: House) -> None:
    house.issuer.silent = True
    leaving = asyncio.create_task(house.knows(house.issuer.token()))
    for _ in range(50):
        await asyncio.sleep(0)
    leaving.cancel()
    await asyncio.wait([leaving])
    house.issuer.silent = False
    with pytest.raises(CannotVerify):
        await house.knows(house.issuer.token())
    house.clock.pass_by(11)
    assert await house.knows(house.issuer.token())


@pytest.mark.parametrize(
    ("issuer", "path"),
    [
        ("https://login.example", "/.well-known/oauth-authorization-server"),
        ("https://login.example/", "/.well-known/openid-configuration"),
        ("https://login.example/a/b", "/.well-known/oauth-authorization-server/a/b"),
        ("https://login.example/a/b", "/.well-known/openid-configuration/a/b"),
        ("https://login.example/a/b", "/a/b/.well-known/openid-configuration"),
    ],
)
async def test_the_address_of_the_keys_is_found_where_issuers_publish_it(
    issuer: str, path: str, clock: FakeClock
) -> None:
    known = Issuer(issuer, now=clock.now())
    known.answers = {
        path: JSONResponse({"issuer": issuer, "jwks_uri": "https://login.example/here"}),
        "/here": JSONResponse({"keys": [key.published() for key in known.keys]}),
    }
    keys = IssuerKeys(issuer, None, clock, known.transport)
    assert await Jwts(issuer, AUDIENCE, keys, clock).verify_token(known.token()) is not None
    await keys.close()


@pytest.mark.parametrize(
    "metadata",
    [
        {"issuer": "https://evil.example", "jwks_uri": f"{ISSUER}/keys"},
        {"issuer": f"{ISSUER}/", "jwks_uri": f"{ISSUER}/keys"},
        {"issuer": ISSUER, "jwks_uri": "http://login.example/team/keys"},
        {"issuer": ISSUER, "jwks_uri": "file:///etc/passwd"},
        {"issuer": ISSUER},
    ],
    ids=str,
)
async def test_metadata_of_somebody_else_or_without_https_is_not_believed(
    metadata: dict[str, str], house: House
) -> None:
    house.issuer.answers["/team/.well-known/openid-configuration"] = JSONResponse(metadata)
    with pytest.raises(CannotVerify):
        await house.knows(house.issuer.token())
    assert "/team/keys" not in house.issuer.asked


async def test_a_named_address_of_the_keys_needs_no_metadata(clock: FakeClock) -> None:
    issuer = Issuer(now=clock.now())
    keys = IssuerKeys(ISSUER, issuer.jwks_url, clock, issuer.transport)
    assert await Jwts(ISSUER, AUDIENCE, keys, clock).verify_token(issuer.token()) is not None
    assert issuer.asked == ["/team/keys"]
    await keys.close()


@pytest.mark.parametrize("urls", [("http://login.example", None), (ISSUER, "http://login.example/keys")])
def test_keys_are_never_fetched_in_the_clear(urls: tuple[str, str | None]) -> None:
    with pytest.raises(InvalidSettings, match="https"):
        IssuerKeys(*urls, SystemClock())


async def test_an_issuer_on_this_machine_is_asked_over_real_http() -> None:
    clock = SystemClock()
    with served_issuer(Issuer(now=clock.now())) as issuer:
        keys = IssuerKeys(issuer.url, None, clock)
        jwts = Jwts(issuer.url, AUDIENCE, keys, clock)
        assert await jwts.verify_token(issuer.token()) is not None
        await keys.close()
