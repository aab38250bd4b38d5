"""Requests that mean harm, byte by byte, each with the statuses that refuse it."""

import base64
import gzip
import json
from collections.abc import Callable
from typing import Any

import jwt
from tests.house import painted
from tests.issuer import encoded
from tests.team_house import HOST, MODERN, PUBLIC_URL, Served, rpc

GOOD = b'{"jsonrpc":"2.0","id":1,"method":"tools/list"}'


def post(
    path: str = "/mcp", body: bytes = GOOD, *more: str, token: str | None = None, **instead: str | None
) -> bytes:
    """A request, byte by byte; `instead` replaces headers, or leaves them out."""
    headers: dict[str, str | None] = {
        "Host": HOST,
        "Accept": "application/json, text/event-stream",
        "Content-Type": "application/json",
        "Authorization": f"Bearer {token}" if token else None,
        "Content-Length": str(len(body)) if body else None,
        "Connection": "close",
    }
    headers |= {name.replace("_", "-"): value for name, value in instead.items() if name != "method"}
    lines = [f"{instead.get('method') or 'POST'} {path} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in headers.items() if value is not None]
    return "\r\n".join([*lines, *more, "", ""]).encode("latin-1") + body


def status_of(answer: bytes) -> int:
    """The first answer's status; 0 where the connection was closed without any."""
    return int(answer.split(b" ", 2)[1]) if answer else 0


def call(name: str, arguments: str) -> bytes:
    return (
        f'{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"{name}","arguments":{arguments}}}}}'
    ).encode()


def chunked(*parts: bytes) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


Attack = Callable[[Served], bytes]


def anna(path: str = "/mcp", body: bytes = GOOD, *more: str, **instead: str | None) -> Attack:
    """A request with a good token."""
    return lambda served: post(path, body, *more, token=served.tokens["anna"], **instead)


def get(path: str, *more: str, **instead: str | None) -> Attack:
    return anna(path, b"", *more, method="GET", **instead)


REBINDING: dict[str, tuple[Attack, set[int]]] = {
    "a website that gave its own name this address": (anna(Host="evil.example"), {421}),
    "a name that only begins like ours": (anna(Host=f"{HOST}.evil.example"), {421}),
    "our name at another port": (anna(Host=f"{HOST}:8080"), {421}),
    "a name behind an at sign": (anna(Host=f"{HOST}@evil.example"), {400, 421}),
    "loopback with a name for a port": (anna(Host="localhost:80.evil.example"), {400, 421}),
    "the bare address of a machine": (anna(Host="203.0.113.7"), {421}),
    "two names": (anna("/mcp", GOOD, "Host: evil.example"), {400}),
    "no name": (anna(Host=None), {400}),
    "a whole URL of another host for a path": (anna("http://evil.example/mcp"), {400, 404}),
    "a page of another website": (anna(Origin="https://evil.example"), {403}),
    "a page without an origin": (anna(Origin="null"), {403}),
    "a page whose origin has our name as its user": (anna(Origin=f"https://{HOST}@evil.example"), {403}),
    "two origins": (anna("/mcp", GOOD, f"Origin: {PUBLIC_URL}", "Origin: https://evil.example"), {400}),
}

OVERSIZED: dict[str, tuple[Attack, set[int]]] = {
    "a body that is announced as a terabyte": (anna(Content_Length=str(10**12)), {413}),
    "a length of five thousand digits": (anna(Content_Length="9" * 5000), {400, 413}),
    "an upload that streams on beyond its limit": (
        anna("/uploads", chunked(*[bytes(1 << 20)] * 51), Transfer_Encoding="chunked", Content_Length=None),
        {413},
    ),
    "a ring of upstream's that is a film": (
        lambda _: post("/webhooks/edit-1/x", bytes(2 << 20)),
        {413},
    ),
    "a body where none belongs": (anna("/pictures/x", b"x", method="GET"), {413}),
    "a packed body": (anna(body=gzip.compress(bytes(10_000_000)), Content_Encoding="gzip"), {400}),
    "a packed picture": (anna("/uploads", gzip.compress(painted("red")), Content_Encoding="gzip"), {422}),
    "lists in lists, two hundred thousand deep": (anna(body=b"[" * 200_000), {400}),
    "a list for a picture, as text, a hundred thousand deep": (
        anna(body=call("edit_image", json.dumps({"prompt": "On", "images": "[" * 100_000}))),
        {200},
    ),
    "a million arguments": (
        anna(body=call("edit_image", "{" + ",".join(f'"k{n}":1' for n in range(10**6)) + "}")),
        {200},
    ),
    "an argument whose name is ten megabytes": (
        anna(body=call("edit_image", f'{{"{"x" * 10**7}":1}}')),
        {200},
    ),
    "a million pictures": (anna(body=call("edit_image", f'{{"images":[{"1," * 10**6}1]}}')), {200}),
    "a header of 40 KB": (anna("/mcp", GOOD, f"X-Large: {'x' * 40_000}"), {431}),
    "headers without end": (anna("/mcp", GOOD, f"X-Large: {'x' * 1_000_000}"), {400, 431}),
    "a hundred and more headers": (anna("/mcp", GOOD, *[f"X-{n}: x" for n in range(120)]), {431}),
    "a query of 9 KB": (anna(f"/mcp?{'x' * 9000}"), {414}),
    "a path of 9 KB": (get(f"/pictures/{'x' * 9000}"), {414}),
    "a picture that claims a gigapixel": (
        anna("/uploads", painted("red").replace(b"IHDR\0\0\0\x40\0\0\0\x30", b"IHDR\0\1\0\0\0\1\0\0")),
        {422},
    ),
}

MALFORMED: dict[str, tuple[Attack, set[int]]] = {
    "no JSON": (anna(body=b"<xml/>"), {400}),
    "a NUL byte": (anna(body=GOOD[:-3] + b"\0" + GOOD[-3:]), {400}),
    "a NUL in an id": (anna(body=call("get_task", '{"task_id":"\\u0000"}')), {200}),
    "half a pair of UTF-16": (anna(body=call("get_task", '{"task_id":"\\ud800"}')), {400}),
    "a batch": (anna(body=b"[" + GOOD + b"," + GOOD + b"]"), {400}),
    "parameters in a list": (anna(body=GOOD[:-1] + b',"params":[1]}'), {400}),
    "no method": (anna(body=b'{"jsonrpc":"2.0","id":1}'), {400}),
    "the same key twice, where the header names the first": (
        lambda served: post(
            "/mcp",
            rpc("tools/list", {})[0]
            .replace(b'"method"', b'"method": "tools/list", "method": "x", "m"', 1)
            .replace(b'"method": "x"', b'"method": "tasks/get"'),
            token=served.tokens["anna"],
            MCP_Protocol_Version=MODERN,
            MCP_Method="tools/list",
        ),
        {400},
    ),
    "a number that is none": (anna(body=call("get_task", '{"task_id":"t","wait_seconds":NaN}')), {200, 400}),
    "an endless wait": (anna(body=call("get_task", '{"task_id":"t","wait_seconds":1e999}')), {200, 400}),
    "a number of five thousand digits": (anna(body=call("get_task", f'{{"task_id":{"9" * 5000}}}')), {400}),
    "a method that is not there": (anna(body=GOOD.replace(b"list", b"nope")), {200, 404}),
    "a form of a website": (anna(Content_Type="text/plain"), {400, 415}),
    "an answer that nobody can give": (anna(Accept="image/png"), {406}),
    "a stranger's request state": (anna(body=GOOD[:-1] + b',"params":{"requestState":{"a":1}}}'), {200, 400}),
}


def of_no_algorithm(served: Served) -> bytes:
    return post(token=f"{encoded({'alg': 'none', 'typ': 'JWT'})}.{encoded(served.issuer.claims())}.")


def signed_with_the_public_key(served: Served) -> bytes:
    key = served.issuer.keys[0]
    said = f"{encoded({'alg': 'HS256', 'typ': 'JWT', 'kid': key.kid})}.{encoded(served.issuer.claims())}"
    mark = jwt.get_algorithm_by_name("HS256")
    return post(token=f"{said}.{encoded(mark.sign(said.encode(), base64.b64encode(key.public_pem)))}")


def claiming(**claims: Any) -> Attack:
    def attack(served: Served) -> bytes:
        now = served.issuer.now
        said = {name: now + value if name in ("exp", "nbf") else value for name, value in claims.items()}
        return post(token=served.issuer.token(**said))

    return attack


TOKENS: dict[str, tuple[Attack, set[int]]] = {
    "nobody": (lambda _: post(), {401}),
    "a static token that is a letter off": (lambda s: post(token=s.tokens["anna"][:-1] + "~"), {401}),
    "an expired token": (claiming(exp=-60), {401}),
    "a token that is not valid yet": (claiming(nbf=300), {401}),
    "a token for another server": (claiming(aud="https://other.example/mcp"), {401}),
    "a token of another issuer": (claiming(iss="https://evil.example"), {401}),
    "a token without a signature": (of_no_algorithm, {401}),
    "a token signed with the public key as a password": (signed_with_the_public_key, {401}),
    "an ID token": (claiming(at_hash="x"), {401}),
    "a refresh token": (claiming(typ="Refresh"), {401}),
    "a token for somebody without a name": (claiming(sub=None), {401}),
    "a token that ends in a line of its own": (claiming(sub="anna\nowner: root"), {401}),
    "a token in the address": (lambda s: post(f"/mcp?access_token={s.tokens['anna']}"), {401}),
    "a token in the body": (
        lambda s: post(
            "/mcp",
            f"access_token={s.tokens['anna']}".encode(),
            Content_Type="application/x-www-form-urlencoded",
        ),
        {401},
    ),
    "two tokens": (
        lambda s: post("/mcp", GOOD, f"Authorization: Bearer {s.tokens['bob']}", token=s.tokens["anna"]),
        {400},
    ),
    "a token as a password": (
        lambda s: post(Authorization=f"Basic {base64.b64encode(s.tokens['anna'].encode()).decode()}"),
        {401},
    ),
    "a token with a control character": (lambda s: post(token=f"{s.tokens['anna']}\x01"), {400, 401}),
    "two tokens in one header": (lambda s: post(token=f"{s.tokens['anna']}, Bearer x"), {401}),
    "a reader at the door for uploads": (
        lambda s: post("/uploads", painted("red"), token=s.tokens["carol"]),
        {403},
    ),
    "an editor at the measures": (get("/metrics"), {403}),
    "a scraper at MCP": (lambda s: post(token=s.tokens["prometheus"]), {403}),
}

PATHS: dict[str, tuple[Attack, set[int]]] = {
    path: (get(path), {400, 403, 404, 405, 421})
    for path in (
        "/../mcp",
        "/mcp/../metrics",
        "/mcp/..;/metrics",
        "//mcp",
        "/%2e%2e/metrics",
        "/mcp%2f..%2fmetrics",
        "/mcp/",
        "/MCP",
        "/mcp%00",
        "/pictures/..%2f..%2fetc%2fpasswd",
        "/pictures/../metrics",
        "/pictures/%00",
        "/pictures/%F0%9F%98%80.x.y",
        "/pictures/",
        "/webhooks/a/b/../../../mcp",
        "/ mcp",
        "*",
        "/.env",
        "/.git/config",
        "/.well-known/../metrics",
        "/health/../metrics",
    )
}

SMUGGLED: dict[str, tuple[Attack, set[int]]] = {
    "a length and chunks": (anna("/mcp", chunked(GOOD), Transfer_Encoding="chunked"), {400}),
    "a length and no coding at all": (anna(Transfer_Encoding="identity"), {400, 501}),
    "two lengths": (anna("/mcp", GOOD, "Content-Length: 5"), {400}),
    "chunks that are chunked again": (
        anna(
            "/mcp",
            chunked(GOOD),
            "Transfer-Encoding: chunked",
            Transfer_Encoding="chunked",
            Content_Length=None,
        ),
        {400, 501},
    ),
    "chunks inside of gzip": (
        anna("/mcp", chunked(GOOD), Transfer_Encoding="gzip, chunked", Content_Length=None),
        {400, 501},
    ),
    "a coding that is nearly chunked": (anna(Transfer_Encoding="xchunked", Content_Length=None), {400, 501}),
    "a chunk whose size is none": (
        anna("/mcp", b"zz\r\n" + GOOD, Transfer_Encoding="chunked", Content_Length=None),
        {400},
    ),
    "a length with a sign": (anna(Content_Length="+46"), {400}),
    "a length in hexadecimals": (anna(Content_Length="0x2e"), {400}),
    "a header with a blank before its colon": (anna("/mcp", GOOD, "Content-Length : 5"), {400}),
    "a carriage return inside a header": (anna("/mcp", GOOD, "X-A: b\rContent-Length: 5"), {400}),
    "a NUL inside a header": (anna("/mcp", GOOD, "X-A: b\0c"), {400}),
    "a line folded into the next header's": (
        lambda _: post("/mcp", GOOD, "X-A: b", " Authorization: Bearer x"),
        {400, 401},
    ),
    "the preface of HTTP/2": (lambda _: b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", {400, 404}),
    "TLS where there is none": (lambda _: b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", {400}),
}

METHODS: dict[str, tuple[Attack, set[int]]] = {
    **{
        f"{method} where only POST is": (anna("/mcp", b"", method=method), {405})
        for method in ("TRACE", "CONNECT", "GET", "DELETE", "PUT", "OPTIONS", "HEAD", "X")
    },
    "a tunnel to somewhere else": (anna("evil.example:443", b"", method="CONNECT"), {400, 404}),
    "a web socket": (
        get(
            "/mcp",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: eA==",
            Connection="Upgrade, close",
        ),
        {400, 405},
    ),
    "a method that overrides itself": (get("/mcp", "X-HTTP-Method-Override: POST"), {405}),
}

SOURCES = {
    "loopback": "http://127.0.0.1/x.png",
    "loopback as one number": "http://2130706433/x.png",
    "loopback in hexadecimals": "http://0x7f000001/x.png",
    "loopback in mixed notations": "http://0x7f.1/x.png",
    "loopback in octals": "http://0177.0.0.1/x.png",
    "loopback with fewer parts": "http://127.1/x.png",
    "loopback with a dot behind it": "http://127.0.0.1./x.png",
    "loopback of IPv6": "http://[::1]/x.png",
    "loopback of IPv4 in IPv6": "http://[::ffff:127.0.0.1]/x.png",
    "a private address in IPv6, in hexadecimals": "http://[::ffff:a00:1]/x.png",
    "loopback by name": "http://localhost:8765/metrics",
    "loopback by a name below it": "http://x.localhost/x.png",
    "the address that means all": "http://0.0.0.0/x.png",
    "a private network": "http://10.1.2.3/x.png",
    "another private network": "https://192.168.1.1/x.png",
    "a unique local address": "http://[fd00::1]/x.png",
    "a link-local address": "http://[fe80::1%25eth0]/x.png",
    "what a cloud machine asks for its secrets": "http://169.254.169.254/latest/meta-data/",
    "the same by name": "http://metadata.google.internal/computeMetadata/v1/",
    "a name of the network": "http://intranet/x.png",
    "a password": "https://user:recognisable-password@pictures.example/x.png",
    "a backslash": "http://pictures.example\\@127.0.0.1/x.png",
    "a line break": "https://pictures.example/x.png\r\nHost: evil.example",
    "three thousand letters": f"https://pictures.example/{'x' * 3000}",
    "no port": "http://pictures.example:0/x.png",
    "a file": "/etc/passwd",
    "a file as a URL": "file:///etc/passwd",
    "a file on another machine": "\\\\server\\share\\x.png",
    "a file of the home folder": "~/.ssh/id_rsa",
    "a file of the journal": "home/journal.sqlite3",
    "a drive": "C:\\Users\\x.png",
    "the clipboard": "clipboard",
    "a screenshot": "latest:screenshot",
    "a script": "javascript://x",
    "another protocol": "gopher://127.0.0.1:70/x",
    "another protocol with credentials": "ftp://user:recognisable-password@pictures.example/x.png",
    "an upload of nobody": f"upload:{'0' * 32}",
    "an upload with a path": "upload:../../home/journal.sqlite3",
    "a task with a path": "task:../../x",
    "a picture of text": "data:image/png;base64,PHN2Zz4=",
    "a vector drawing": "data:image/svg+xml,<svg onload='x'/>",
}
