"""Where nothing is fetched from: every address that is not everyone's, however it is spelled."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.hosts import fetching, host, refusal

from kontext_edit.fetcher import Address, is_public


@pytest.mark.parametrize(
    "name",
    ["localhost", "127.0.0.1", "127.1", "0x7f.1", "0x7f000001", "2130706433", "0177.0.0.1", "127.0.0.1."],
)
async def test_this_machine_is_not_reached_however_it_is_spelled(name: str) -> None:
    async with host() as there, fetching(there, may_reach=is_public) as fetcher:
        told = await refusal(fetcher, f"http://{name}:{there.port}/")
        assert there.heads == []
    assert any(why in told for why in ("not on the public internet", "has no address", "is no URL"))
    assert "127.0.0.1" not in told


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/",
        "http://0.0.0.0/",
        "http://10.0.0.1/",
        "http://172.31.255.255/",
        "http://192.168.1.1/",
        "http://100.64.0.1/",
        "http://100.100.100.200/",
        "http://169.254.169.254/latest/meta-data/",
        "http://168.63.129.16/",
        "http://192.0.0.192/",
        "http://192.88.99.1/",
        "http://198.18.0.1/",
        "http://203.0.113.7/",
        "http://224.0.0.1/",
        "http://239.255.255.250/",
        "http://240.0.0.1/",
        "http://255.255.255.255/",
        "https://[::]/",
        "https://[::1]/",
        "https://[::127.0.0.1]/",
        "https://[::ffff:127.0.0.1]/",
        "https://[::ffff:a9fe:a9fe]/",
        "https://[64:ff9b::7f00:1]/",
        "https://[64:ff9b::a9fe:a9fe]/",
        "https://[64:ff9b:1::808:808]/",
        "https://[2001:0:4136:e378:8000:63bf:3fff:fdd2]/",
        "https://[2001:db8::1]/",
        "https://[2002:7f00:1::]/",
        "https://[2002:808:808::1]/",
        "https://[3fff::1]/",
        "https://[5f00::1]/",
        "https://[fc00::1]/",
        "https://[fd00:ec2::254]/",
        "https://[fe80::1]/",
        "https://[fec0::1]/",
        "https://[ff02::1]/",
        "https://[ff0e::1]/",
    ],
)
async def test_addresses_that_are_not_everyones_are_refused(url: str) -> None:
    async with fetching(may_reach=is_public, ports={80, 443}) as fetcher:
        assert "not on the public internet" in await refusal(fetcher, url)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://example.com:8080/", "port 8080 is not fetched from, only 80 and 443"),
        ("http://example.com:22/", "port 22"),
        ("https://user:secret@example.com/", "user name or password"),
        ("https://user@example.com/", "user name or password"),
        ("ftp://example.com/a.png", "neither http nor https"),
        ("file:///etc/passwd", "neither http nor https"),
        ("gopher://example.com/", "neither http nor https"),
        ("//example.com/a.png", "neither http nor https"),
        ("http:///a.png", "names no host"),
        ("http://[fe80::1%25eth0]/", ""),
        ("http://[fe80::1%eth0]/", ""),
        ("http://a%2eb/", ""),
        ("http://[::1/", "no URL"),
        ("http://example.com:99999/", ""),
        ("http://exa mple.com/", ""),
        ("http://\x00/", ""),
        (f"http://{'a' * 70}.example/", "has no address"),
        ("http://１２７.0.0.1/", ""),
        ("http://no-such-host.invalid/", "has no address"),
    ],
)
async def test_urls_that_are_refused_by_what_can_be_read_off_them(url: str, why: str) -> None:
    async with fetching(may_reach=is_public, ports={80, 443}) as fetcher:
        told = await refusal(fetcher, url)
    assert why in told
    assert "secret" not in told


IPV4 = st.integers(0, 2**32 - 1).map(ipaddress.IPv4Address)
INSIDE = st.sampled_from(
    [
        ipaddress.ip_network(name)
        for name in ("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16")
    ]
).flatmap(lambda network: st.integers(0, network.num_addresses - 1).map(lambda number: network[number]))


def spellings(address: ipaddress.IPv4Address) -> list[str]:
    """Ways to write an IPv4 address that the system's resolver takes."""
    number, (one, two, three, four) = int(address), address.packed
    return [
        str(address),
        str(number),
        hex(number),
        f"0{number:o}",
        f"{one}.{number & 0xFFFFFF}",
        f"{one:#x}.{two}.{number & 0xFFFF:#x}",
        f"0{one:o}.{two:#x}.{three}.{four}",
    ]


@given(address=INSIDE, way=st.integers(0, 6))
async def test_no_spelling_of_an_inner_address_is_connected_to(
    address: ipaddress.IPv4Address, way: int
) -> None:
    async with fetching(may_reach=is_public, ports={80}) as fetcher:
        assert "not on the public" in await refusal(fetcher, f"http://{spellings(address)[way]}/")


@given(address=IPV4)
def test_an_ipv4_address_within_ipv6_is_public_only_where_it_is_itself(
    address: ipaddress.IPv4Address,
) -> None:
    def within(network: str, shift: int = 0) -> Address:
        return ipaddress.IPv6Address(int(ipaddress.IPv6Address(network)) | int(address) << shift)

    assert is_public(within("::ffff:0:0")) == is_public(address) == is_public(within("64:ff9b::"))
    assert not any(map(is_public, (within("2002::", 80), within("::"), within("2001::"))))


@given(number=st.integers(0, 2**128 - 1))
def test_what_python_calls_private_is_never_public(number: int) -> None:
    address = ipaddress.IPv6Address(number)
    assert not (is_public(address) and (address.is_private or address.is_multicast or address.is_reserved))


@pytest.mark.parametrize("address", ["93.184.215.14", "8.8.8.8", "2606:2800:21f:cb07::1", "64:ff9b::808:808"])
def test_public_addresses_are_public(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


def test_an_address_of_one_network_card_is_not_public() -> None:
    assert not is_public(ipaddress.ip_address("2606:4700::1111%eth0"))


@given(text=st.text(max_size=40))
async def test_whatever_is_given_as_a_url_is_fetched_or_refused_and_nothing_else(text: str) -> None:
    async with fetching(ports={9}) as fetcher:
        for url in (text, f"http://{text}", f"http://127.0.0.1:9{text}", f"http://[{text}]:9/"):
            await refusal(fetcher, url)
