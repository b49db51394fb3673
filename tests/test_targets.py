"""Any text is a target or is refused with a sentence; a private address needs its owner."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.targets import Policy, Target, TargetError, parse, parse_list, refusal

STRICT = Policy()
WORDS = [
    "voila.fr",
    "yahoo.cn",
    "prout.local",
    "palourde.net",
    "a_b.example.com",
    "xn--caf-dma.fr",
    "localhost",
    "example.com.",
]


@pytest.mark.parametrize("word", WORDS)
def test_a_host_name_is_a_target_under_its_own_word(word: str) -> None:
    target = parse(word)
    assert (target.text, target.kind, target.host) == (word, "host", word.removesuffix("."))


@pytest.mark.parametrize(
    ("word", "host"),
    [("192.0.2.1", "192.0.2.1"), ("2001:DB8::1", "2001:db8::1"), ("[2001:db8::1]", "2001:db8::1")],
)
def test_an_address_is_a_target(word: str, host: str) -> None:
    assert parse(word) == Target(word, "address", host, None, None, None)


@pytest.mark.parametrize(
    ("word", "host", "port", "path"),
    [
        ("https://example.com/", "example.com", None, "/"),
        ("HTTPS://Example.COM", "example.com", None, "/"),
        ("https://example.com:443/x", "example.com", None, "/x"),
        ("http://example.com:443/x", "example.com", 443, "/x"),
        ("http://example.com:8080/a?b=c#d", "example.com", 8080, "/a?b=c"),
        ("http://[2001:db8::1]:81/", "2001:db8::1", 81, "/"),
        ("http://192.0.2.7?q", "192.0.2.7", None, "/?q"),
        ("https://café.fr/thé", "xn--caf-dma.fr", None, "/th%C3%A9"),
        ("https://example.com/a%20b", "example.com", None, "/a%20b"),
    ],
)
def test_a_url_is_a_target(word: str, host: str, port: int | None, path: str) -> None:
    target = parse(word)
    assert (target.kind, target.host, target.port, target.path) == ("url", host, port, path)
    assert target.scheme == word.split(":")[0].lower()


def test_a_name_in_letters_of_the_world_is_asked_for_in_ascii() -> None:
    assert parse("bücher.example").host == "xn--bcher-kva.example"
    assert parse("例え.jp").host == "xn--r8jz45g.jp"


def test_digits_in_disguise_are_the_address_that_they_spell() -> None:
    target = parse("１２７.0.0.1")
    assert (target.kind, target.host) == ("address", "127.0.0.1")
    assert refusal(target.host, STRICT)


@pytest.mark.parametrize(
    ("word", "why"),
    [
        ("", "nothing"),
        ("-rf", "dash"),
        ("--help", "dash"),
        ("http://user:secret@example.com/", "password"),
        ("https://user@example.com/", "user name"),
        ("user@example.com", "password"),
        ("ftp://example.com/", "only http"),
        ("file:///etc/passwd", "only http"),
        ("javascript:alert(1)", "http://"),
        ("example.com:443", "http://"),
        ("example.com/path", "http://"),
        ("http://", "URL"),
        ("http:///path", "URL"),
        ("http://exa\\mple.com/", "URL"),
        ("http://example.com:0/", "port 0"),
        ("http://example.com:25/", "port 25"),
        ("http://example.com:65536/", "URL"),
        ("http://example.com:http/", "URL"),
        ("http://[::1/", "URL"),
        ("fe80::1%eth0", "zone"),
        ("http://[fe80::1%25eth0]/", "zone"),
        ("2130706433", "number"),
        ("127.1", "number"),
        ("010.0.0.1", "number"),
        ("0x7f.0x1", "number"),
        ("a..b", "host name"),
        ("exa$(id)mple.com", "host name"),
        ("a;b", "host name"),
        ("*.example.com", "host name"),
        ("a" * 64 + ".com", "host name"),
        ("a." * 200 + "com", "host name"),
        ("℀.com", "host name"),
        ("a\x00b", "control"),
        ("a\x1b[31m", "control"),
        ("a\N{RIGHT-TO-LEFT OVERRIDE}b", "control"),
        ("a" * 501, "longer"),
        ("https://example.com/" + "a" * 500, "longer"),
    ],
)
def test_what_is_no_host_no_address_and_no_url_is_refused(word: str, why: str) -> None:
    with pytest.raises(TargetError, match=why) as raised:
        parse(word)
    assert "\n" not in str(raised.value)


@given(st.one_of(st.text(), st.text("htps:/[]@.-%0127af\\?#", max_size=40)))
def test_any_text_gives_a_target_or_a_reason(text: str) -> None:
    for word in [text, "http://" + text, "https://a.example/" + text]:
        try:
            target = parse(word)
        except TargetError as error:
            assert str(error).isprintable()
            continue
        assert target.text == word
        assert target.host.isascii() and target.host == target.host.lower()
        assert not target.host.startswith("-") and " " not in target.host
        if target.kind == "url":
            assert target.path is not None
            assert target.path.startswith("/") and target.path.isascii()
            assert target.path.isprintable() and " " not in target.path


@given(st.text())
def test_any_list_is_read_whole(text: str) -> None:
    told = parse_list(text)
    assert len(told.targets) <= 64 and len(told.refused) <= 65
    assert bool(told.targets or told.refused) == bool(text.split())


def test_a_list_keeps_its_order_says_each_once_and_tells_what_it_refused() -> None:
    told = parse_list("b.example  a.example\tB.example\n-x https://u:p@c.example http://a.example ")
    assert [target.text for target in told.targets] == [
        "b.example",
        "a.example",
        "http://a.example",
    ]
    assert [word for word, _ in told.refused] == ["-x", "https://u:p@c.example"]


def test_the_sixty_fifth_target_is_refused() -> None:
    told = parse_list(" ".join(f"h{n}.example" for n in range(70)) + " h1.example")
    assert len(told.targets) == 64
    assert told.refused[0] == ("h64.example", "there are more than 64 targets")
    assert len(told.refused) == 6


def test_a_flood_of_bad_words_is_told_briefly() -> None:
    told = parse_list(" ".join(f"-{n}" + "x" * 1000 for n in range(5000)))
    assert len(told.refused) == 65
    assert told.refused[-1].reason == "4936 more are refused"
    assert all(len(word) <= 80 for word, _ in told.refused)


def test_an_address_on_the_list_is_judged_at_once_when_the_policy_is_known() -> None:
    told = parse_list("10.0.0.1 http://127.0.0.1:8080/ a.example 192.0.2.1", policy=STRICT)
    assert [target.text for target in told.targets] == ["a.example", "192.0.2.1"]
    assert "private" in told.refused[0].reason


PRIVATE = [
    "127.0.0.1",
    "127.255.0.9",
    "10.1.2.3",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "100.64.0.1",
    "100.127.255.255",
    "169.254.169.254",
    "192.0.0.8",
    "::1",
    "fc00::1",
    "fd12:3456::1",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "::ffff:10.1.2.3",
    "::10.1.2.3",
    "2002:0a01:0203::1",
    "64:ff9b::10.1.2.3",
    "64:ff9b:1::1",
    "2001:0:c000:201:0:0:f5fe:fdfc",
    "2001:db8::5efe:10.1.2.3",
]
NEVER = [
    "0.0.0.0",
    "0.1.2.3",
    "224.0.0.1",
    "239.255.255.250",
    "255.255.255.255",
    "240.0.0.1",
    "::",
    "ff02::1",
    "::ffff:224.0.0.1",
    "2002:e000:0001::1",
    "64:ff9b::255.255.255.255",
]
PUBLIC = ["192.0.2.1", "9.9.9.9", "172.32.0.1", "100.128.0.1", "2001:db8::1", "64:ff9b::9.9.9.9"]


@pytest.mark.parametrize("address", PRIVATE)
def test_a_private_address_is_refused(address: str) -> None:
    reason = refusal(address, STRICT)
    assert reason is not None and reason.isprintable()


@pytest.mark.parametrize("address", NEVER)
def test_multicast_broadcast_and_unspecified_are_refused_always(address: str) -> None:
    everything = (ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0"))
    assert refusal(address, Policy(allow_private=everything)) is not None


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_may_be_probed(address: str) -> None:
    assert refusal(address, STRICT) is None


def test_the_owner_may_allow_a_private_range_and_no_other() -> None:
    policy = Policy(allow_private=(ipaddress.ip_network("10.1.0.0/16"),))
    assert refusal("10.1.2.3", policy) is None
    assert refusal("::ffff:10.1.2.3", policy) is None
    assert refusal("10.2.0.1", policy) is not None
    assert refusal("127.0.0.1", policy) is not None


def test_what_the_owner_denies_is_refused_even_where_it_is_allowed() -> None:
    everything = (ipaddress.ip_network("0.0.0.0/0"),)
    policy = Policy(everything, (ipaddress.ip_network("10.1.0.0/16"),))
    assert refusal("10.2.0.1", policy) is None
    assert "denied" in str(refusal("10.1.0.1", policy))
    assert "denied" in str(refusal("::ffff:10.1.0.1", policy))
    public = Policy(deny=(ipaddress.ip_network("9.9.9.0/24"),))
    assert "denied" in str(refusal("9.9.9.9", public))


@given(st.ip_addresses())
def test_every_address_is_judged(address: ipaddress.IPv4Address) -> None:
    reason = refusal(str(address), STRICT)
    assert reason is None or reason.isprintable()
    if address.is_multicast or address.is_loopback or address.is_unspecified:
        assert reason is not None


@given(st.text())
def test_what_is_no_address_is_refused(text: str) -> None:
    assert refusal(text + "!", STRICT) is not None
