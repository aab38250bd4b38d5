"""The settings of a server for many: what is read, what is refused, and what a personal server has of it."""

import re
from typing import Any

import pytest

from kontext_edit.budget import Allowance, Limit
from kontext_edit.errors import InvalidSettings
from kontext_edit.settings import read_settings

PUBLIC = {"KONTEXT_PUBLIC_URL": "https://edits.example.com/"}
OAUTH = {"KONTEXT_AUTH": "oauth", "KONTEXT_OAUTH_ISSUER": "https://login.example.com", **PUBLIC}


def serving(**environ: str) -> Any:
    return read_settings(environ).serving


def test_a_personal_server_asks_nobody_who_they_are_and_allows_them_everything() -> None:
    personal = serving()
    assert personal.auth == frozenset()
    assert personal.allowance == Allowance(None, None)
    assert not personal.webhook
    assert personal.fetch_links


def test_with_authentication_owners_have_an_allowance_and_links_are_not_fetched() -> None:
    many = serving(KONTEXT_AUTH="tokens")
    assert many.auth == {"tokens"}
    assert many.allowance.edits_at_once
    assert many.allowance.edits_per_minute
    assert not many.fetch_links


def test_both_ways_to_prove_who_one_is_can_be_had_together() -> None:
    assert serving(**OAUTH | {"KONTEXT_AUTH": "tokens, oauth"}).auth == {"tokens", "oauth"}


def test_a_public_url_turns_the_webhook_on_and_names_the_server() -> None:
    named = serving(**PUBLIC)
    assert named.public_url == "https://edits.example.com"
    assert named.webhook
    assert named.allowed_hosts == ("edits.example.com",)
    assert not serving(**PUBLIC, KONTEXT_WEBHOOK="off").webhook


def test_without_a_public_url_there_is_no_webhook_to_turn_on() -> None:
    assert not serving(KONTEXT_WEBHOOK="on").webhook


def test_the_audience_of_tokens_is_the_servers_own_address_unless_another_is_named() -> None:
    assert serving(**OAUTH).oauth.audience == "https://edits.example.com/mcp"
    assert serving(**OAUTH, KONTEXT_OAUTH_AUDIENCE="kontext").oauth.audience == "kontext"


def test_an_issuer_is_kept_letter_by_letter() -> None:
    issuer = "https://login.example.com/realm/"
    assert serving(**OAUTH | {"KONTEXT_OAUTH_ISSUER": issuer}).oauth.issuer == issuer


def test_hosts_can_be_named_and_then_the_public_one_is_not_among_them_by_itself() -> None:
    assert serving(**PUBLIC, KONTEXT_ALLOWED_HOSTS="a.example, b.example:8443").allowed_hosts == (
        "a.example",
        "b.example:8443",
    )


def test_none_lifts_a_limit_and_a_number_sets_it() -> None:
    many = serving(
        KONTEXT_AUTH="tokens", KONTEXT_OWNER_EDITS_AT_ONCE="none", KONTEXT_OWNER_EDITS_PER_MINUTE="7"
    )
    assert many.allowance == Allowance(None, 7)


def test_a_link_works_for_a_week_at_most() -> None:
    assert serving(KONTEXT_LINK_SECONDS="9999999").link_seconds == 7 * 24 * 3600
    assert serving(KONTEXT_LINK_SECONDS="60").link_seconds == 60


def test_owners_have_budgets_of_their_own_beside_the_servers() -> None:
    limits = read_settings({"KONTEXT_OWNER_BUDGET_DAY_USD": "0.50"}).limits
    assert [(limit.period, limit.each_owner) for limit in limits] == [("day", False), ("day", True)]
    mine = limits[1]
    assert isinstance(mine, Limit)
    assert mine.setting == "KONTEXT_OWNER_BUDGET_DAY_USD"


def test_the_password_of_a_database_shows_in_no_representation() -> None:
    url = "postgresql://kontext:hunter2@db.example/kontext"
    many = serving(KONTEXT_DATABASE_URL=url)
    assert many.database_url.get_secret_value() == url
    assert "hunter2" not in repr(many)


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"KONTEXT_AUTH": "password"}, "KONTEXT_AUTH must name some of tokens, oauth"),
        ({"KONTEXT_AUTH": "oauth"}, "needs KONTEXT_OAUTH_ISSUER and KONTEXT_PUBLIC_URL"),
        ({"KONTEXT_PUBLIC_URL": "http://edits.example.com"}, "KONTEXT_PUBLIC_URL must be https"),
        ({"KONTEXT_PUBLIC_URL": "edits.example.com"}, "KONTEXT_PUBLIC_URL must be an http(s) URL"),
        (OAUTH | {"KONTEXT_OAUTH_JWKS_URL": "http://keys.example"}, "KONTEXT_OAUTH_JWKS_URL must be https"),
        ({"KONTEXT_DATABASE_URL": "mysql://db"}, "KONTEXT_DATABASE_URL must begin with postgresql://"),
        ({"KONTEXT_STORE_URL": "ftp://store"}, "KONTEXT_STORE_URL must begin with one of s3://"),
        ({"KONTEXT_OWNER_EDITS_AT_ONCE": "0"}, "must be a whole number from 1, or none"),
        ({"KONTEXT_OWNER_CALLS_AT_ONCE": "many"}, "must be a whole number from 1, or none"),
        ({"KONTEXT_WEBHOOK": "yes"}, "KONTEXT_WEBHOOK is 'yes'; it must be one of on, off"),
        ({"KONTEXT_LOG": "xml"}, "KONTEXT_LOG is 'xml'; it must be one of text, json"),
    ],
)
def test_what_cannot_be_used_is_refused_with_what_can(environ: dict[str, str], said: str) -> None:
    with pytest.raises(InvalidSettings, match=re.escape(said)):
        read_settings(environ)


def test_a_database_url_that_is_refused_is_not_quoted() -> None:
    with pytest.raises(InvalidSettings) as refused:
        read_settings({"KONTEXT_DATABASE_URL": "mysql://kontext:hunter2@db.example"})
    assert "hunter2" not in str(refused.value)
