"""Well-known hosts on networks of their own: when all of them answer, the way out is fine."""

from indexer.verdict.probes import is_this_machine

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
