"""What this machine fetches for others: public pictures, and nothing else that it could reach."""

import asyncio
import gzip
import socket
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tests.hosts import ANSWER, fetching, host, refusal
from tests.house import painted

from kontext_edit.fetcher import is_public, look_of
from kontext_edit.images.prepare import Prepared
from kontext_edit.images.preview import inspect


async def test_a_picture_is_fetched_and_nothing_of_this_machine_goes_along(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with host() as there, fetching(there) as fetcher:
        for name in ("http_proxy", "ALL_PROXY", "HTTPS_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{there.port + 1}")
        assert await fetcher.picture(f"http://localhost:{there.port}/a%20b.png?sig=1#part") == b"abc"
    lines = there.heads[0].decode().lower().split("\r\n")
    assert lines[0] == "get /a%20b.png?sig=1 http/1.1"
    names = {line.partition(":")[0] for line in lines[1:] if line}
    assert names == {"host", "accept", "accept-encoding", "user-agent"}
    assert f"host: localhost:{there.port}" in lines


async def test_a_name_that_changes_its_meaning_after_the_check_does_not_matter(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The name server of an attacker tells one address to the check and another to the connection."""
    asked: list[object] = []
    real = socket.getaddrinfo

    def rebinding(name: str, *rest: Any, **more: Any) -> Any:
        asked.append(name)
        return real("127.0.0.1" if len(asked) == 1 else "127.0.0.2", *rest, **more)

    async with host() as there:
        monkeypatch.setattr(socket, "getaddrinfo", rebinding)
        async with fetching(there) as fetcher:
            assert await fetcher.picture(f"http://rebinding.example:{there.port}/") == b"abc"
            assert asked == ["rebinding.example"]
            assert "not on the public" in await refusal(fetcher, f"http://rebinding.example:{there.port}/")
    assert len(there.heads) == 1


async def test_one_inner_address_among_public_ones_refuses_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def mixed(*_: Any, **__: Any) -> Any:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (a, 80)) for a in ("8.8.8.8", "10.0.0.1")]

    monkeypatch.setattr(socket, "getaddrinfo", mixed)
    async with fetching(may_reach=is_public, ports={80}) as fetcher:
        assert "not on the public" in await refusal(fetcher, "http://mixed.example/")


async def test_the_next_address_of_a_name_is_tried_where_one_is_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    def two(*_: Any, **__: Any) -> Any:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (a, 0)) for a in ("127.0.0.9", "127.0.0.1")]

    async with host() as there, fetching(there, may_reach=lambda address: address.is_loopback) as fetcher:
        monkeypatch.setattr(socket, "getaddrinfo", two)
        assert await fetcher.picture(f"http://two.example:{there.port}/") == b"abc"


def redirect(to: str, status: int = 302) -> bytes:
    return (
        f"HTTP/1.1 {status} Found\r\nlocation: {to}\r\nset-cookie: a=b\r\ncontent-length: 0\r\n\r\n".encode()
    )


async def test_three_redirects_are_followed_without_cookies_and_a_fourth_is_not() -> None:
    def answer(path: bytes) -> bytes:
        step = int(path[1:])
        return redirect(f"/{step - 1}", 301 + step % 2) if step else ANSWER

    async with host(answer) as there, fetching(there) as fetcher:
        assert await fetcher.picture(f"http://localhost:{there.port}/3") == b"abc"
        assert "more than 3 times" in await refusal(fetcher, f"http://localhost:{there.port}/4")
    assert not any(b"cookie" in head.lower() or b"referer" in head.lower() for head in there.heads)


@pytest.mark.parametrize(
    ("to", "why"),
    [
        ("http://169.254.169.254/latest/meta-data/", "port 80"),
        ("http://0x7f.1:{port}/", ""),
        ("http://127.0.0.2:{port}/", "not on the public"),
        ("//127.0.0.2:{port}/", "not on the public"),
        ("http://user:secret@localhost:{port}/", "user name"),
        ("file:///etc/passwd", "neither http nor https"),
        ("http://localhost:1/", "port 1 "),
        ("http://[::1", "redirected to something malformed"),
    ],
)
async def test_each_redirect_is_checked_like_the_first_url(to: str, why: str) -> None:
    async with (
        host(lambda _: redirect(to.format(port=there.port))) as there,
        fetching(there) as fetcher,
    ):
        told = await refusal(fetcher, f"http://127.0.0.1:{there.port}/")
    assert why in told
    assert "secret" not in told


@pytest.mark.parametrize("status", [204, 206, 304, 401, 404, 500])
async def test_an_answer_that_is_no_success_is_told_by_its_number(status: int) -> None:
    async with (
        host(f"HTTP/1.1 {status} So\r\ncontent-length: 0\r\n\r\n".encode()) as there,
        fetching(there) as fetcher,
    ):
        assert f"answers {status}" in await refusal(fetcher, f"http://localhost:{there.port}/")


async def test_what_is_packed_is_not_unpacked() -> None:
    bomb = gzip.compress(bytes(10_000_000))
    head = f"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: {len(bomb)}\r\n\r\n"
    async with host(head.encode() + bomb) as there, fetching(there) as fetcher:
        assert "packed" in await refusal(fetcher, f"http://localhost:{there.port}/")


async def test_more_than_50_megabytes_are_not_read_whatever_was_announced() -> None:
    endless = b"HTTP/1.1 200 OK\r\n\r\n" + bytes(51_000_000)
    async with host(endless) as there, fetching(there) as fetcher:
        assert "more than 50.0 MB" in await refusal(fetcher, f"http://localhost:{there.port}/")


@pytest.mark.parametrize("part", [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\n\r\nab"])
async def test_a_host_that_never_ends_is_left_when_the_time_is_up(part: bytes) -> None:
    async with host(part) as there, fetching(there, seconds=0.05) as fetcher:
        there.after = asyncio.Event()
        assert "within 0.05 seconds" in await refusal(fetcher, f"http://localhost:{there.port}/")
        there.after.set()


@pytest.mark.parametrize(
    "answer", [b"", b"SSH-2.0-OpenSSH_9.6\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nab"]
)
async def test_what_is_no_http_or_ends_early_is_one_clear_error(answer: bytes) -> None:
    async with host(answer) as there, fetching(there) as fetcher:
        assert "RemoteProtocolError" in await refusal(fetcher, f"http://localhost:{there.port}/")


async def test_a_port_where_nobody_listens_is_one_clear_error() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        port = nobody.getsockname()[1]
        async with fetching(ports={port}) as fetcher:
            assert "ConnectError" in await refusal(fetcher, f"http://127.0.0.1:{port}/")


@dataclass(frozen=True)
class Certified:
    """A host's TLS, and a client's that believes its issuer."""

    server: ssl.SSLContext
    client: ssl.SSLContext


@pytest.fixture
def certified(tmp_path: Path) -> Certified:
    """A certificate for the name `localhost` alone."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a test")])
    today = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(today - timedelta(days=1))
        .not_valid_after(today + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    file = tmp_path / "certificate.pem"
    file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(file)
    return Certified(server, ssl.create_default_context(cafile=file))


async def test_over_tls_the_host_must_have_the_name_of_the_url_and_not_the_address(
    certified: Certified,
) -> None:
    names: list[str | None] = []
    certified.server.sni_callback = lambda _, name, __: names.append(name)
    async with (
        host(tls=certified.server) as there,
        fetching(there, certificates=certified.client) as fetcher,
    ):
        assert await fetcher.picture(f"https://localhost:{there.port}/") == b"abc"
        assert "ConnectError" in await refusal(fetcher, f"https://127.0.0.1:{there.port}/")
    assert names == ["localhost", None]


async def test_https_does_not_become_http_on_the_way(certified: Certified) -> None:
    async with (
        host() as plain,
        host(redirect(f"http://localhost:{plain.port}/"), tls=certified.server) as there,
        fetching(there, plain, certificates=certified.client) as fetcher,
    ):
        assert "from https to http" in await refusal(fetcher, f"https://localhost:{there.port}/")
        assert plain.heads == []


def with_picture(content: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(content), content)


def linked(url: str) -> Prepared:
    return Prepared(url, "", None, None, url, None, None, None, ())


async def test_the_picture_behind_a_link_is_looked_at_so_that_its_result_can_be_compared() -> None:
    async with host(with_picture(painted("red"))) as there, fetching(there) as fetcher:
        source = linked(f"http://localhost:{there.port}/")
        look = await look_of(source, fetcher)
        assert look is not None
        assert inspect(painted("red"), look).changed_percent == 0
        assert inspect(painted("blue"), look).changed_percent == 100
        assert await look_of(source, None) is None
    assert len(there.heads) == 1


@pytest.mark.parametrize("content", [b"<html>", painted("red")[:60]])
async def test_a_link_to_something_else_costs_the_comparison_and_no_more(
    content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "kontext_edit.fetcher")
    async with host(with_picture(content)) as there, fetching(there) as fetcher:
        assert await fetcher.look(f"http://localhost:{there.port}/a.png?signature=secret") is None
    assert "a.png is not compared" in caplog.text
    assert "secret" not in caplog.text


async def test_a_fault_in_looking_at_a_link_does_not_reach_the_edit(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def exhausted(found: object) -> Prepared:
        raise MemoryError(found)

    monkeypatch.setattr("kontext_edit.fetcher.prepare", exhausted)
    async with host(with_picture(painted("red"))) as there, fetching(there) as fetcher:
        assert await fetcher.look(f"http://localhost:{there.port}/a.png") is None
    assert "could not be looked at" in caplog.text


async def test_many_links_are_fetched_eight_at_a_time() -> None:
    eight = asyncio.Event()

    def answer(_: bytes) -> bytes:
        if len(there.heads) == 8:
            eight.set()
        return b"HTTP/1.1 200 OK\r\n\r\nabc"

    async with host(answer) as there, fetching(there) as fetcher:
        there.after = asyncio.Event()
        urls = [f"http://127.0.0.1:{there.port}/{number}" for number in range(20)]
        work = asyncio.gather(*map(fetcher.picture, urls))
        await eight.wait()
        for _ in range(200):
            await asyncio.sleep(0)
        assert len(there.heads) == 8
        there.after.set()
        assert await work == [b"abc"] * 20
