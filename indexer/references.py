"""Well-known hosts on networks of their own: when all of them answer, the way out is fine."""

# What to watch when nobody has said anything yet, and what the page calls each of them.
REFERENCES = {
    "one.one.one.one": "reference (Cloudflare)",
    "dns.google": "reference (Google)",
    "dns.quad9.net": "reference (Quad9)",
    "https://www.wikipedia.org/": "reference (Wikimedia)",
    "https://www.debian.org/": "reference (Debian)",
}
OWN_LOOPBACK = "127.0.0.1"


def label(target: str) -> str | None:
    """What a target is besides its name, or None."""
    if target == OWN_LOOPBACK or target in ("::1", "localhost") or target.startswith("127."):
        return "this machine itself"
    return REFERENCES.get(target)
