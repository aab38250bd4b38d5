"""The person's settings: what each variable does, and every bad value named in one error."""

import dataclasses
import os
from decimal import Decimal
from pathlib import Path

import platformdirs
import pytest
from hypothesis import given as given_any
from hypothesis import strategies as st
from tests.conftest import KEY

from kontext_edit.budget import BUDGET_SETTINGS
from kontext_edit.errors import InvalidSettings
from kontext_edit.reader import given, is_loopback
from kontext_edit.settings import NOVITA_URL, Settings, read_settings

LOOPBACK = "http://127.0.0.1:8787"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A person of the test's own, who stands in a folder below the home."""
    home = tmp_path / "person"
    (home / "project").mkdir(parents=True)
    for name in [name for name in os.environ if name.startswith(("XDG_", "KONTEXT_", "NOVITA_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USERPROFILE", str(home))
    monkeypatch.chdir(home / "project")
    return home


def problems(**environ: str) -> list[str]:
    with pytest.raises(InvalidSettings) as caught:
        read_settings(environ)
    assert KEY not in str(caught.value)
    return str(caught.value).removesuffix(".").split(". ")


def test_with_nothing_set_edits_go_to_the_embedded_sandbox() -> None:
    settings = read_settings({})
    assert settings.provider == "sandbox"
    assert settings.api_key is None
    assert settings.base_url == NOVITA_URL == "https://api.novita.ai"
    assert settings.embedded_sandbox
    assert settings.default_tier == "pro"
    assert settings.image_encoding == "data-url"
    assert settings.home == platformdirs.user_data_path("kontext-edit", appauthor=False)
    assert settings.journal_path == settings.home / "journal.sqlite3"
    assert settings.output_dir == platformdirs.user_pictures_path() / "Kontext Edit"


def test_a_key_makes_novita_the_provider() -> None:
    settings = read_settings({"NOVITA_API_KEY": f" {KEY}\n"})
    assert settings.provider == "novita"
    assert not settings.embedded_sandbox
    assert settings.api_key is not None
    assert settings.api_key.get_secret_value() == KEY


def test_the_sandbox_can_be_chosen_in_spite_of_a_key() -> None:
    settings = read_settings({"NOVITA_API_KEY": KEY, "KONTEXT_PROVIDER": "sandbox"})
    assert settings.embedded_sandbox


def test_novita_without_a_key_is_a_problem() -> None:
    assert problems(KONTEXT_PROVIDER="novita") == [
        "KONTEXT_PROVIDER is 'novita', and NOVITA_API_KEY is not set"
    ]


def test_the_key_is_never_written_out() -> None:
    settings = read_settings({"NOVITA_API_KEY": KEY})
    for written in (repr(settings), str(settings), str(dataclasses.asdict(settings))):
        assert KEY not in written


@pytest.mark.parametrize(
    "key", ["Bearer sk_secret", "sk_sécret", "sk_\nsecret", "sk_\x00secret", "sk_secret…"]
)
def test_a_key_that_cannot_stand_in_a_header_is_refused_without_being_quoted(key: str) -> None:
    (problem,) = problems(NOVITA_API_KEY=key)
    assert problem == "NOVITA_API_KEY must be the key alone: letters, digits and signs, no spaces"


@pytest.mark.parametrize(
    ("name", "value", "setting"),
    [
        ("KONTEXT_DEFAULT_TIER", "max", "default_tier"),
        ("KONTEXT_IMAGE_ENCODING", "base64", "image_encoding"),
        ("KONTEXT_PROVIDER", "sandbox", "provider"),
        ("NOVITA_BASE_URL", LOOPBACK, "base_url"),
    ],
)
def test_a_variable_sets_its_setting(name: str, value: str, setting: str) -> None:
    assert getattr(read_settings({name: value}), setting) == value
    assert getattr(read_settings({name: f"  {value} "}), setting) == value


VARIABLES = [
    "NOVITA_API_KEY",
    "NOVITA_BASE_URL",
    "KONTEXT_PROVIDER",
    "KONTEXT_HOME",
    "KONTEXT_OUTPUT_DIR",
    "KONTEXT_ALLOWED_DIRS",
    "KONTEXT_DEFAULT_TIER",
    "KONTEXT_IMAGE_ENCODING",
    "KONTEXT_BUDGET_DAY_USD",
    "KONTEXT_BUDGET_MONTH_USD",
    "KONTEXT_CONFIRM_ABOVE_USD",
]


@pytest.mark.parametrize("unset", ["", "  \n", "${user_config.x}", " ${user_config.x} "])
def test_what_a_client_passes_for_an_unset_value_counts_as_unset(unset: str) -> None:
    assert read_settings(dict.fromkeys(VARIABLES, unset), [unset]) == read_settings({})


@given_any(st.text())
def test_a_value_is_given_stripped_or_not_at_all(value: str) -> None:
    kept = given(value)
    assert kept is None or (kept and kept == value.strip())
    assert given(None) is None


MONEY = ["KONTEXT_BUDGET_DAY_USD", "KONTEXT_BUDGET_MONTH_USD", "KONTEXT_CONFIRM_ABOVE_USD"]


def amount(settings: Settings, name: str) -> Decimal | None:
    """What a setting about money came to; None is no limit."""
    limits = {BUDGET_SETTINGS[limit.period]: limit.amount_usd for limit in settings.limits}
    return settings.confirm_above_usd if name == "KONTEXT_CONFIRM_ABOVE_USD" else limits.get(name)


def test_without_a_word_about_money_there_are_five_dollars_a_day_and_questions_above_one() -> None:
    assert [amount(read_settings({}), name) for name in MONEY] == [Decimal("5.00"), None, Decimal("1.00")]


@pytest.mark.parametrize("name", MONEY)
@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2.50", Decimal("2.50")),
        (" 7 ", Decimal(7)),
        ("0", Decimal(0)),
        ("0.0001", Decimal("0.0001")),
        ("1000000", Decimal(1_000_000)),
        ("none", None),
        (" None ", None),
        ("NONE", None),
    ],
)
def test_an_amount_of_dollars_or_none_at_all(name: str, value: str, expected: Decimal | None) -> None:
    assert amount(read_settings({name: value}), name) == expected


@pytest.mark.parametrize("name", MONEY)
@pytest.mark.parametrize(
    "value",
    ["-1", "-0.01", "NaN", "sNaN", "Infinity", "-inf", "five", "$5", "5 USD", "5,00", "1e99", "0x10", "off"],
)
def test_what_is_no_amount_is_a_problem_and_never_no_limit(name: str, value: str) -> None:
    assert problems(**{name: value}) == [
        f"{name} is {value!r}; it must be an amount of US dollars like 5.00, or none"
    ]


@pytest.mark.parametrize("name", ["KONTEXT_HOME", "KONTEXT_OUTPUT_DIR", "KONTEXT_ALLOWED_DIRS"])
def test_a_folder_may_begin_with_the_home_sign_or_be_relative(name: str, home: Path) -> None:
    def read(value: str) -> Path:
        settings = read_settings({name: value})
        return {
            "KONTEXT_HOME": settings.home,
            "KONTEXT_OUTPUT_DIR": settings.output_dir,
            "KONTEXT_ALLOWED_DIRS": settings.allowed_dirs[0],
        }[name]

    assert read("~/pictures") == home / "pictures"
    assert read("~") == home
    assert read("drafts") == home / "project" / "drafts"
    assert read(str(home / "a b")) == home / "a b"


@pytest.mark.parametrize("name", ["KONTEXT_HOME", "KONTEXT_OUTPUT_DIR", "KONTEXT_ALLOWED_DIRS"])
def test_a_home_that_nobody_has_is_a_problem(name: str) -> None:
    assert problems(**{name: "~no-such-person/x"}) == [
        f"{name} is '~no-such-person/x'; there is no such home folder"
    ]


def test_allowed_folders_are_separated_as_in_path_and_the_results_folder_is_always_one(home: Path) -> None:
    named = os.pathsep.join(["", "~/in", "${user_config.folder}", " ~/more ", "~/in", ""])
    settings = read_settings({"KONTEXT_ALLOWED_DIRS": named, "KONTEXT_OUTPUT_DIR": "~/out"})
    assert settings.allowed_dirs == (home / "in", home / "more", home / "out")


def test_an_unset_folder_before_a_set_one_hides_nothing(home: Path) -> None:
    named = os.pathsep.join(["${user_config.folder}", "~/in"])
    assert read_settings({"KONTEXT_ALLOWED_DIRS": named}).allowed_dirs[0] == home / "in"


def test_folders_of_the_command_line_join_those_of_the_environment(home: Path) -> None:
    settings = read_settings(
        {"KONTEXT_ALLOWED_DIRS": "~/in", "KONTEXT_OUTPUT_DIR": "~/out"},
        ["~/more", "${user_config.x}", "here"],
    )
    assert settings.allowed_dirs == (home / "in", home / "more", home / "project" / "here", home / "out")


def test_a_folder_of_the_command_line_that_cannot_be_is_a_problem() -> None:
    with pytest.raises(InvalidSettings, match="--allow is '~no-such-person'"):
        read_settings({}, ["~no-such-person"])


def usual(home: Path) -> list[Path]:
    names = ["pictures", "downloads", "desktop", "documents"]
    folders: list[Path] = [getattr(platformdirs, f"user_{name}_path")() for name in names]
    assert all(folder.is_relative_to(home) for folder in folders)
    return folders


def test_without_named_folders_the_working_folder_and_the_persons_usual_ones_are_allowed(home: Path) -> None:
    settings = read_settings({})
    assert list(settings.allowed_dirs) == [home / "project", *usual(home), settings.output_dir]


@pytest.mark.parametrize("where", ["root", "home", "above the home"])
def test_a_working_folder_that_holds_the_whole_home_is_not_allowed_by_itself(
    where: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Desktop applications start their servers in the root or in the home."""
    monkeypatch.chdir({"root": Path(home.anchor), "home": home, "above the home": home.parent}[where])
    settings = read_settings({})
    assert list(settings.allowed_dirs) == [*usual(home), settings.output_dir]


def test_a_home_behind_a_symbolic_link_is_not_allowed_by_itself(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "link").symlink_to(home)
    monkeypatch.setenv("HOME", str(tmp_path / "link"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "link"))
    monkeypatch.chdir(home)
    assert home not in read_settings({}).allowed_dirs


def test_a_home_that_stands_in_for_a_missing_folder_is_not_allowed(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a person has no folder for documents, the desktop names the home instead."""
    monkeypatch.setenv("XDG_DOCUMENTS_DIR", str(home))
    assert home not in read_settings({}).allowed_dirs


def test_a_person_may_allow_the_home_by_name(home: Path) -> None:
    assert home in read_settings({}, ["~"]).allowed_dirs


@pytest.mark.parametrize(
    "url",
    [
        "https://gateway.example",
        "https://gateway.example:8443/novita",
        "HTTPS://gateway.example",
        LOOPBACK,
        "http://localhost:8787",
        "http://LOCALHOST",
        "http://[::1]:8787",
        "http://127.9.9.9",
    ],
)
def test_a_base_url_is_https_or_on_this_machine(url: str) -> None:
    assert read_settings({"NOVITA_API_KEY": KEY, "NOVITA_BASE_URL": url}).base_url == url
    assert read_settings({"NOVITA_API_KEY": KEY, "NOVITA_BASE_URL": f"{url}/"}).base_url == url


NOT_A_URL = "NOVITA_BASE_URL must be an http(s) URL of a host, without credentials, ? or #"
NOT_HTTPS = "NOVITA_BASE_URL must be https, except on this machine itself"
NOT_HERE = "KONTEXT_PROVIDER is 'sandbox': NOVITA_BASE_URL may only name a sandbox on this machine"


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("api.novita.ai", NOT_A_URL),
        ("ftp://api.novita.ai", NOT_A_URL),
        ("https://", NOT_A_URL),
        ("https:///v3", NOT_A_URL),
        (f"https://{KEY}@api.novita.ai", NOT_A_URL),
        (f"https://user:{KEY}@127.0.0.1", NOT_A_URL),
        ("https://@api.novita.ai", NOT_A_URL),
        (f"https://api.novita.ai?key={KEY}", NOT_A_URL),
        ("https://api.novita.ai/#v3", NOT_A_URL),
        ("https://[::1", NOT_A_URL),
        ("https://api.novita.ai:port", NOT_A_URL),
        ("https://api.novita.ai:99999", NOT_A_URL),
        ("https://api.novita.ai:0", NOT_A_URL),
        ("http://api.novita.ai", NOT_HTTPS),
        ("http://127.0.0.1.evil.example", NOT_HTTPS),
        ("http://localhost.evil.example", NOT_HTTPS),
        ("http://192.168.1.2:8787", NOT_HTTPS),
        ("http://0.0.0.0:8787", NOT_HTTPS),
    ],
)
def test_a_base_url_that_would_show_the_key_to_others_is_a_problem(url: str, problem: str) -> None:
    assert problems(NOVITA_API_KEY=KEY, NOVITA_BASE_URL=url) == [problem]


def test_the_sandbox_is_never_sought_on_another_machine() -> None:
    assert problems(NOVITA_BASE_URL="https://gateway.example") == [NOT_HERE]
    assert problems(NOVITA_BASE_URL="http://gateway.example") == [NOT_HTTPS, NOT_HERE]


def test_a_sandbox_of_its_own_on_this_machine_is_not_the_embedded_one() -> None:
    settings = read_settings({"NOVITA_BASE_URL": LOOPBACK})
    assert settings.provider == "sandbox"
    assert not settings.embedded_sandbox


def test_every_bad_value_is_named_in_one_error() -> None:
    assert problems(
        NOVITA_API_KEY="two words",
        NOVITA_BASE_URL="novita",
        KONTEXT_PROVIDER="Novita",
        KONTEXT_HOME="~no-such-person",
        KONTEXT_DEFAULT_TIER="ultra",
        KONTEXT_IMAGE_ENCODING="hex",
    ) == [
        "NOVITA_API_KEY must be the key alone: letters, digits and signs, no spaces",
        "KONTEXT_PROVIDER is 'Novita'; it must be one of novita, sandbox",
        NOT_A_URL,
        "KONTEXT_HOME is '~no-such-person'; there is no such home folder",
        "KONTEXT_DEFAULT_TIER is 'ultra'; it must be one of dev, pro, max",
        "KONTEXT_IMAGE_ENCODING is 'hex'; it must be one of data-url, base64",
    ]


def test_what_to_do_about_bad_settings_is_for_the_person() -> None:
    with pytest.raises(InvalidSettings) as caught:
        read_settings({"KONTEXT_DEFAULT_TIER": "ultra"})
    assert caught.value.hint.startswith("Ask the person to correct these settings")


def test_settings_are_read_from_the_process_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KONTEXT_DEFAULT_TIER", "dev")
    assert read_settings().default_tier == "dev"


@pytest.mark.parametrize("text", ["", "localhost", "http://[::1", "http://1.2.3", "file:///tmp/a", "::1"])
def test_what_is_no_url_of_this_machine_is_elsewhere(text: str) -> None:
    assert not is_loopback(text)


@given_any(st.text())
def test_whether_a_url_is_on_this_machine_can_be_asked_of_any_text(text: str) -> None:
    assert is_loopback(f"http://{text}") in (True, False)


@pytest.mark.parametrize("name", VARIABLES)
@given_any(value=st.text(st.characters(exclude_categories=["Cs"])))
def test_any_value_is_a_setting_or_a_problem(name: str, value: str) -> None:
    try:
        settings = read_settings({name: value})
    except InvalidSettings as error:
        problem = str(error)
    else:
        assert settings.home.is_absolute()
        assert all(folder.is_absolute() for folder in settings.allowed_dirs)
        return
    assert problem.startswith(name) or name == "NOVITA_BASE_URL"
