"""Well-known hosts on networks of their own: when all of them answer, the way out is fine."""

from urllib.parse import urlsplit

# What to watch when nobody has said anything yet, and what the page calls each of them.
REFERENCES = {
    "one.one.one.one": "reference (Cloudflare)",
    "dns.google": "reference (Google)",
    "dns.quad9.net": "reference (Quad9)",
    "https://www.wikipedia.org/": "reference (Wikimedia)",
    "https://www.debian.org/": "reference (Debian)",
}
OWN_LOOPBACK = "127.0.0.1"
WHAT_FOR = "A well-known host on a network of its own: when all of these answer, the way out works."


def label(target: str) -> str | None:
    """What a target is besides its name, or None."""
    return "this machine itself" if is_this_machine(target) else REFERENCES.get(target)


def is_this_machine(target: str) -> bool:
    """It leads to the box that asks, so that it is no service and tells nothing of the way."""
    host = (urlsplit(target).hostname or "") if "://" in target else target
    host = host.lower().removesuffix(".")
    return host == "::1" or host.startswith("127.") or ("." + host).endswith(".localhost")
