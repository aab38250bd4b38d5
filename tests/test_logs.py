"""Lines of the log: for people or machines, and never with a secret."""

import json
import logging
import sys
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kontext_edit.logs import FIELDS, JsonLines, Keyless, Scrubber, formatter, secrets_in
from kontext_edit.tokens import new_token

JWT = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhbm5hIn0.c2lnbmF0dXJl"
SIGNED = "https://store.example/kontext/a.png?X-Amz-Credential=AKIA0123&X-Amz-Signature=5ec7e75ec7e7"


def record(message: str, *args: object, **fields: object) -> logging.LogRecord:
    line = logging.LogRecord("kontext_edit.room", logging.WARNING, "", 0, message, args, None)
    line.created = 1_790_000_000.25
    vars(line)[FIELDS] = fields
    return line


def as_json(line: logging.LogRecord, *secrets: str, **more: Any) -> dict[str, Any]:
    written = JsonLines(*secrets, **more).format(line)
    assert "\n" not in written
    assert written.isascii()
    return json.loads(written)


def test_a_line_for_a_machine_is_one_object_with_its_fields() -> None:
    assert as_json(record("it is %d\nor so", 3, edit="edit-1", bytes_out=7, error=None)) == {
        "time": "2026-09-21T14:13:20.250Z",
        "level": "warning",
        "logger": "kontext_edit.room",
        "message": "it is 3\nor so",
        "edit": "edit-1",
        "bytes_out": 7,
        "error": None,
    }


def test_a_line_for_a_machine_says_in_which_trace_it_was_written() -> None:
    assert as_json(record("so"), around=lambda: {"trace_id": "4bf9"})["trace_id"] == "4bf9"


def test_a_line_for_a_person_has_its_fields_at_its_end() -> None:
    line = Keyless().format(record("edit failed", edit="edit-1", error=None, seconds=2.5))
    assert line == "WARNING kontext_edit.room: edit failed edit=edit-1 seconds=2.5"


def test_a_traceback_is_one_text_within_the_object_and_has_no_secret() -> None:
    line = record("it broke")
    try:
        raise ConnectionError(f"postgresql://kontext:pass@word@db/kontext for Bearer {JWT}")  # noqa: TRY301 - a test
    except ConnectionError:
        line.exc_info = sys.exc_info()
    told = as_json(line)["exception"]
    assert "Traceback" in told
    assert "ConnectionError: postgresql://kontext:[secret]@db/kontext for Bearer" in told
    assert "pass" not in told.rpartition("ConnectionError: ")[2]
    assert JWT not in told


@pytest.mark.parametrize(
    ("text", "left"),
    [
        (f"GET {SIGNED} failed", "GET https://store.example/kontext/a.png?[query] failed"),
        (f"<{SIGNED}>", "<https://store.example/kontext/a.png?[query]>"),
        ("/pictures/a.png?signature=5ec7e7", "/pictures/a.png?[query]"),
        ("Authorization: Bearer 5ec7e7", "Authorization: [secret]"),
        ("authorization: Basic 5ec7e7==", "authorization: [secret]"),
        ("{'Authorization': 'Bearer 5ec7e7'}", "{'Authorization': '[secret]'}"),
        ("[(b'Authorization', b'Bearer 5ec7e7'), (b'a', b'b')]", None),
        ("sent Bearer 5ec7e75ec7e75ec7e7 along", "sent Bearer [secret] along"),
        ("POST /webhooks/edit-1/5ec7e7-_x done", "POST /webhooks/edit-1/[secret] done"),
        (
            f"GET /pictures/1790000000.cGlj.{'5ec7e7ab' * 8} done",
            "GET /pictures/1790000000.cGlj.[secret] done",
        ),
        (f"a token {JWT}.", "a token [token]."),
        ("postgresql://kontext:5ec7e7@db:5432/kontext", "postgresql://kontext:[secret]@db:5432/kontext"),
        ("postgresql://kontext:5ec/7@e7@db/kontext", "postgresql://kontext:[secret]@db/kontext"),
        ("host=db password=5ec7e7 dbname=kontext", "host=db password=[secret] dbname=kontext"),
        ("password='5ec 7e7' dbname=kontext", "password=[secret] dbname=kontext"),
        ("{'aws_secret_access_key': '5ec7e7', 'region': 'eu'}", None),
        ("aws_session_token=5ec7e7", "aws_session_token=[secret]"),
    ],
)
def test_what_looks_like_a_secret_is_not_written(text: str, left: str | None) -> None:
    told = as_json(record("%s", text))["message"]
    assert "5ec" not in told
    assert told == left or left is None
    assert "5ec" not in Keyless().format(record("%s", text))


@pytest.mark.parametrize(
    "text",
    [
        "what is it? nobody knows",
        "edit edit-1 is taken up from a process that is gone",
        "the basic settings; a bearer token; authorization failed",
        "The picture could not be written to /data/a b: No space left on device.",
        "http://127.0.0.1:8765/mcp is served",
    ],
)
def test_ordinary_lines_stay_as_they_are(text: str) -> None:
    assert as_json(record("%s", text))["message"] == text


@pytest.mark.parametrize(
    "text", ["A" * 100_000, "a-" * 50_000, "?" * 100_000, "bearer " * 15_000, "a://b:" * 20_000]
)
def test_a_long_text_is_looked_through_in_no_time(text: str) -> None:
    """A pattern that goes back and forth takes minutes."""
    began = time.process_time()
    assert Scrubber([])(f"{text} password=5ec7e7").endswith("=[secret]")
    assert time.process_time() - began < 2


def test_a_static_token_is_known_by_its_prefix() -> None:
    token = new_token()
    assert token not in Keyless().format(record("refused %s", token))


def test_the_environment_tells_what_is_secret_by_its_names() -> None:
    environ = {
        "NOVITA_API_KEY": "sk",
        "AWS_SECRET_ACCESS_KEY": "0123456789",
        "AWS_SESSION_TOKEN": "abcdefghij",
        "PGPASSWORD": "correct horse",
        "POSTGRES_PASSWORD_FILE": "/run/secrets/db",
        "AZURE_STORAGE_ACCOUNT_KEY": "short",
        "KONTEXT_AUTH": "tokens,oauth",
        "KONTEXT_OWNER_EDITS_AT_ONCE": "50",
        "MONKEYS": "0123456789",
    }
    assert secrets_in(environ) == ["sk", "0123456789", "abcdefghij", "correct horse", "/run/secrets/db"]


@pytest.mark.parametrize("environ", [{}, {"KONTEXT_LOG": "text"}, {"KONTEXT_LOG": " json "}], ids=str)
def test_the_log_is_written_as_the_settings_say_and_without_their_secrets(environ: Mapping[str, str]) -> None:
    made = formatter({**environ, "AWS_SECRET_ACCESS_KEY": "0123456789"})
    line = made.format(record("so: %s", "0123456789"))
    assert line.startswith("{") == ("json" in environ.get("KONTEXT_LOG", ""))
    assert "so: [key]" in line


AROUND = st.text("αβγ :;,.([{", max_size=20)


@given(
    secret=st.text(st.characters(min_codepoint=33, max_codepoint=0x2FF), min_size=8, max_size=40),
    before=AROUND,
    after=AROUND,
)
def test_a_known_secret_is_in_no_line_however_it_is_spelled(secret: str, before: str, after: str) -> None:
    spellings = (secret, ascii(secret)[1:-1], quote(secret, safe=""))
    line = record("%s", before + spellings[0] + after, inner=[{"deep": f"{before}{spellings[1]}{after}"}])
    line.name = spellings[2]
    if secret.strip() == secret:
        for_people = Keyless(secret).format(line)
        told = as_json(line, secret)
        for_machines = told["logger"] + told["message"] + told["inner"][0]["deep"]
        assert not any(spelling in for_people + for_machines for spelling in spellings)
