"""Who is asking: JWTs of an OAuth issuer, good, bad, and from hostile hands."""

import hmac
import json
from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.responses import JSONResponse
from tests import bearers
from tests.bearers import Book, House
from tests.clock import FakeClock
from tests.issuer import AUDIENCE, ISSUER, Issuer, SigningKey, encoded

from kontext_edit.team.identity import Jwts, StaticTokens, Verifier, owner_of
from kontext_edit.team.keys import ALGORITHMS, IssuerKeys

house = bearers.house

DAY = 24 * 3600


async def test_a_good_token_tells_who_it_is_and_what_they_may(house: House) -> None:
    access = await house.verifier.verify_token(house.issuer.token())
    assert access is not None
    assert owner_of(access) == f"oauth:{ISSUER} anna"
    assert access.scopes == ["edit", "read"]
    assert (access.client_id, access.subject, access.resource) == ("desktop", "anna", AUDIENCE)
    assert access.claims == {"iss": ISSUER}


@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_every_listed_algorithm_is_taken(algorithm: str, house: House) -> None:
    house.issuer.keys = [SigningKey.make("k1", algorithm)]
    assert await house.knows(house.issuer.token())


@pytest.mark.parametrize("algorithm", ["RS256", "PS384", "ES256", "ES384", "ES512", "EdDSA"])
async def test_keys_need_not_say_their_algorithm_nor_their_use(algorithm: str, house: House) -> None:
    key = SigningKey.make("k1", algorithm)
    entry = key.published(alg=None, use=None)
    house.issuer.answers["/team/keys"] = JSONResponse({"keys": [entry]})
    assert await house.knows(house.issuer.token(key))


@pytest.mark.parametrize(
    "claims",
    [
        {"aud": "https://other.example/mcp"},
        {"aud": [f"{AUDIENCE}/", "https://other.example"]},
        {"aud": None},
        {"aud": []},
        {"iss": f"{ISSUER}/"},
        {"iss": "https://login.example"},
        {"iss": None},
        {"iss": [ISSUER]},
        {"sub": None},
        {"sub": ""},
        {"sub": 7},
        {"sub": "anna\nroot"},
        {"sub": "anna\0"},
        {"sub": "a" * 256},
        {"exp": None},
        {"exp": "1999999999"},
        {"exp": True},
        {"exp": float("inf")},
        {"exp": float("nan")},
        {"exp": 10**400},
        {"scope": 7},
        {"scope": {"edit": True}},
        {"typ": "ID"},
        {"typ": "Refresh"},
        {"token_use": "id"},
        {"at_hash": "MTIzNDU2"},
    ],
    ids=str,
)
async def test_a_token_that_says_something_else_is_refused(claims: dict[str, Any], house: House) -> None:
    assert await house.knows(house.issuer.token())
    assert not await house.knows(house.issuer.token(**claims))


@pytest.mark.parametrize(
    ("claims", "good"),
    [
        ({"exp": -29}, True),
        ({"exp": -31}, False),
        ({"exp": -DAY}, False),
        ({"nbf": 29}, True),
        ({"nbf": 31}, False),
        ({"iat": 29}, True),
        ({"iat": DAY}, False),
    ],
    ids=str,
)
async def test_a_token_counts_from_when_to_when_it_says_give_or_take_half_a_minute(
    claims: dict[str, Any], *, good: bool, house: House
) -> None:
    moments: dict[str, Any] = {name: house.clock.now() + seconds for name, seconds in claims.items()}
    assert await house.knows(house.issuer.token(**moments)) is good


async def test_a_token_that_is_too_long_is_not_even_read(house: House) -> None:
    assert not await house.knows(house.issuer.token(padding="x" * 20_000))
    assert house.issuer.asked == []


async def test_a_token_for_several_audiences_counts_where_one_is_meant(house: House) -> None:
    assert await house.knows(house.issuer.token(aud=["https://other.example", AUDIENCE]))


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "nOnE", "", None, 7, ["RS256"], "RS256 "])
async def test_an_unsigned_token_is_refused(algorithm: object, house: House) -> None:
    header, claims = {"alg": algorithm, "typ": "JWT", "kid": "k1"}, house.issuer.claims()
    for signature in ("", encoded(b"x"), house.issuer.token().rpartition(".")[2]):
        assert not await house.knows(f"{encoded(header)}.{encoded(claims)}.{signature}")


@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
async def test_a_token_signed_with_the_public_key_as_a_secret_is_refused(
    algorithm: str, house: House
) -> None:
    key = house.issuer.keys[0]
    signed = f"{encoded({'alg': algorithm, 'typ': 'JWT', 'kid': key.kid})}.{encoded(house.issuer.claims())}"
    for secret in (key.public_pem, json.dumps(key.published()).encode()):
        mac = hmac.digest(secret, signed.encode(), algorithm.replace("HS", "sha"))
        assert not await house.knows(f"{signed}.{encoded(mac)}")


async def test_a_shared_secret_among_the_published_keys_is_not_used(house: House) -> None:
    secret = b"s" * 32
    published = {"kty": "oct", "kid": "k2", "alg": "HS256", "k": encoded(secret)}
    house.issuer.answers["/team/keys"] = JSONResponse(
        {"keys": [published, house.issuer.keys[0].published(), {"kty": "RSA", "kid": "k3", "n": 7}, {}]}
    )
    assert not await house.knows(jwt.encode(house.issuer.claims(), secret, "HS256", {"kid": "k2"}))
    assert await house.knows(house.issuer.token())


@pytest.mark.parametrize("changes", [{"use": "enc"}, {"alg": "PS256"}, {"alg": "RSA-OAEP"}])
async def test_a_key_for_something_else_does_not_prove_a_token(changes: dict[str, str], house: House) -> None:
    other = SigningKey.make("other", "ES256")
    house.issuer.answers["/team/keys"] = JSONResponse(
        {"keys": [house.issuer.keys[0].published(**changes), other.published()]}
    )
    assert await house.knows(house.issuer.token(other))
    assert not await house.knows(house.issuer.token())


async def test_a_token_of_another_issuers_key_is_refused(house: House) -> None:
    assert not await house.knows(house.issuer.token(SigningKey.make("k1", number=1)))
    assert not await house.knows(house.issuer.token(SigningKey.make("k1", "ES256")))


@pytest.mark.parametrize(
    "changes", [{"jwk": True}, {"jku": "https://evil.example/keys"}, {"x5u": "https://e.x"}]
)
async def test_a_key_that_a_token_brings_along_is_not_used(changes: dict[str, Any], house: House) -> None:
    evil = SigningKey.make("evil", number=1)
    headers = {"jwk": evil.published()} if "jwk" in changes else changes
    assert not await house.knows(house.issuer.token(evil, headers))
    assert all("evil" not in path for path in house.issuer.asked)


@pytest.mark.parametrize("kind", ["at+jwt", "application/at+jwt", "AT+JWT", "JWT"])
async def test_the_header_of_an_access_token_is_taken(kind: str, house: House) -> None:
    assert await house.knows(house.issuer.token(headers={"typ": kind}))


@pytest.mark.parametrize("kind", ["logout+jwt", "dpop+jwt", "secevent+jwt", "id+jwt"])
async def test_a_token_of_another_type_is_refused(kind: str, house: House) -> None:
    assert not await house.knows(house.issuer.token(headers={"typ": kind}))


@pytest.mark.parametrize("headers", [{"crit": ["exp"]}, {"crit": "b64", "b64": False}, {"kid": 7}], ids=str)
async def test_a_header_that_must_be_understood_and_is_not_is_refused(
    headers: dict[str, Any], house: House
) -> None:
    assert not await house.knows(house.issuer.token(headers=headers))


async def test_a_part_of_a_token_that_was_changed_makes_it_worthless(house: House) -> None:
    header, _, signature = house.issuer.token().split(".")
    claims = encoded(house.issuer.claims() | {"sub": "root"})
    assert not await house.knows(f"{header}.{claims}.{signature}")


async def test_a_token_without_a_key_id_is_taken_where_only_one_key_can_be_meant(house: House) -> None:
    token = house.issuer.token(headers={"kid": None})
    assert await house.knows(token)
    house.issuer.keys.append(SigningKey.make("k2", number=1))
    house.clock.pass_by(3601)
    assert not await house.knows(house.issuer.token(headers={"kid": None}, exp=house.clock.now() + 60))


@pytest.mark.parametrize(
    ("claims", "scopes"),
    [
        ({"scope": "read"}, ["read"]),
        ({"scope": "edit"}, ["edit", "read"]),
        ({"scope": "metrics"}, ["metrics"]),
        ({"scope": "openid profile"}, []),
        ({"scope": "editor reader"}, []),
        ({"scope": None}, []),
        ({"scope": ["openid", "read"]}, ["read"]),
        ({"scope": None, "scp": "read edit"}, ["edit", "read"]),
        ({"scope": None, "scp": ["read"]}, ["read"]),
        ({"scope": "read", "scp": ["edit"]}, ["edit", "read"]),
    ],
    ids=str,
)
async def test_scopes_are_read_as_issuers_write_them(
    claims: dict[str, Any], scopes: list[str], house: House
) -> None:
    access = await house.verifier.verify_token(house.issuer.token(**claims))
    assert access is not None
    assert access.scopes == scopes


@pytest.mark.parametrize(("said", "client"), [({"azp": "web"}, "web"), ({}, "anna")])
async def test_a_client_is_known_by_what_the_issuer_calls_it(
    said: dict[str, Any], client: str, house: House
) -> None:
    access = await house.verifier.verify_token(house.issuer.token(client_id=None, **said))
    assert access is not None
    assert access.client_id == client


@given(
    st.one_of(
        st.text(max_size=200),
        st.text(alphabet=st.characters(max_codepoint=255), max_size=200).map(lambda text: f"kxt_{text}"),
        st.lists(st.binary(max_size=60).map(encoded), min_size=2, max_size=4).map(".".join),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
            lambda inner: (
                st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
            ),
            max_leaves=8,
        ).map(lambda header: f"{encoded(header)}.{encoded(header)}.AAAA"),
    )
)
async def test_whatever_is_sent_as_a_token_is_refused_in_peace(text: str) -> None:
    clock = FakeClock()
    issuer = Issuer(now=clock.now())
    keys = IssuerKeys(ISSUER, None, clock, issuer.transport)
    verifier = Verifier(StaticTokens(Book(), clock), Jwts(ISSUER, AUDIENCE, keys, clock))
    assert await verifier.verify_token(text) is None
    await keys.close()


@given(
    st.dictionaries(
        st.sampled_from(
            ["sub", "exp", "nbf", "iat", "scope", "scp", "typ", "azp", "client_id", "aud", "iss"]
        ),
        st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.text(), max_size=3),
    )
)
async def test_whatever_a_signed_token_says_is_refused_or_read(claims: dict[str, Any]) -> None:
    clock = FakeClock()
    issuer = Issuer(now=clock.now())
    keys = IssuerKeys(ISSUER, None, clock, issuer.transport)
    jwts = Jwts(ISSUER, AUDIENCE, keys, clock)
    access = await jwts.verify_token(issuer.token(**claims))
    await keys.close()
    if access is not None:
        assert owner_of(access) == f"oauth:{ISSUER} {access.subject}"
        assert owner_of(access).isprintable()
