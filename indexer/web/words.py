"""What agents say of themselves, in words. Facts come from anybody: nothing is taken on trust."""

from datetime import UTC, datetime
from typing import Any, NamedTuple

from agent.wire import ERRORS, Result, WireError, from_rfc3339, rfc3339
from indexer.store import AgentRecord
from indexer.verdict.sentences import ms

ENDS_SOON_DAYS = 30
_TRUST = {
    "ntp": "set by the network (NTP)",
    "indexer": "set by the indexer, to the second",
    "unknown": "not known whether it is set; taken as it is",
    "unsynced": "not set: its results stand apart and do not vote",
    "waiting": "known to be wrong: results wait until it is set",
}


_WHOSE = {
    "me": "their own side",
    "isp": "their provider",
    "access": "their own side or their provider",
    "path": "the way there",
    "service": "the service itself",
    "beyond": "the way there or the service",
    "checking": "being checked",
    "unknown": "not known whose it is",
    "conflict": "findings contradict each other",
}


def whose(word: str, agents: int = 2) -> str:
    """Whose it is, for these agents: "the service itself"."""
    said = _WHOSE.get(word) or word.replace("me", "their own side").replace("isp", "provider")
    return said.replace("their", "its") if agents == 1 else said


class Fact(NamedTuple):
    name: str
    text: str


def ticker(result: Result, with_agent: bool) -> str:
    """One result in a few words: "pi-3: dns.google 12 ms"."""
    body = result.body
    who = f"{result.agent}: " if with_agent else ""
    if body.get("kind") == "ladder":
        rungs = [_rung(body.get(name), label) for name, label in _RUNGS]
        return f"{who}{', '.join(rung for rung in rungs if rung) or 'no rung answers'}"
    if body.get("kind") == "lost":
        return f"{who}{body.get('count')} results were dropped by a full journal"
    target = str(body.get("target"))[:80]
    if not body.get("ok"):
        error = str(body.get("error"))
        return f"{who}{target}: {ERRORS.get(error, error)[:80]}"
    took = (body.get("phases_ms") or {}).get("total") or _median(body.get("rtts_ms"))
    return f"{who}{target} {ms(took)}" if took is not None else f"{who}{target}"


_RUNGS = (("gateway", "router"), ("first_hop", "provider"))


def _rung(part: Any, label: str) -> str | None:
    took = _median(part.get("rtts_ms")) if isinstance(part, dict) else None
    return None if took is None else f"{label} {ms(took)}"


def _median(rtts: Any) -> float | None:
    known = sorted(rtt for rtt in rtts if rtt is not None) if isinstance(rtts, list) else []
    return known[len(known) // 2] if known else None


def link_of(facts: dict[str, Any]) -> str:
    """ "Wi-Fi", "4G (lte)" …, or "" when it is not known."""
    link = facts.get("link")
    if isinstance(link, str):
        return link[:40]
    link = _dict(link)
    kind, generation = _text(link.get("type")), _text(link.get("generation"))
    operator = _text(link.get("operator"))
    parts = [kind if kind not in ("", "unknown") else "", generation, operator]
    return ", ".join(dict.fromkeys(part for part in parts if part))


def facts_of(record: AgentRecord) -> list[Fact]:
    """The agent page's list, without its times."""
    facts = record.facts
    link, journal, clock = (_dict(facts.get(name)) for name in ("link", "journal", "clock"))
    listed = _dict(facts.get("list"))
    found = [
        ("Link", _link_line(facts, link)),
        ("Place", _text(facts.get("place"))),
        ("Provider", _text(facts.get("isp"))),
        ("Journal", _journal_line(journal)),
        ("Clock", _clock_line(clock)),
        ("List in force", _list_line(listed or {"targets": facts.get("targets")})),
        ("Brokers", ", ".join(_texts(facts.get("brokers")))),
        ("ICMP by", _text(facts.get("icmp"))),
        ("Traffic", _traffic_line(_dict(facts.get("traffic")))),
        ("Version", _text(facts.get("version"))),
    ]
    return [Fact(name, text) for name, text in found if text]


def notices_of(record: AgentRecord) -> list[str]:
    """What its owner should know, the gravest first."""
    facts = record.facts
    journal, clock = _dict(facts.get("journal")), _dict(facts.get("clock"))
    memory, silence = _text(journal.get("memory")), _text(facts.get("silence"))
    trust = _text(clock.get("trust"))
    found = [
        (memory, f"Its journal is in memory only ({memory}): a power cut loses what waits."),
        (silence, f"Its results are not confirmed: {silence}."),
        (facts.get("paused") is True, f"It is paused by its owner{_until(facts)}."),
        (_ends_soon(facts), f"Its certificate {_ends_soon(facts)}: invite it once more (--again)."),
        (_text(facts.get("budget")), f"Its data budget is {_text(facts.get('budget'))}."),
        (trust in ("unsynced", "waiting"), f"Its clock is {_TRUST.get(trust, trust)}."),
        (_text(journal.get("set_aside")), "A corrupt journal was set aside, and a new one begun."),
        (
            _number(journal.get("evicted")),
            f"{_number(journal.get('evicted'))} results were dropped by a full journal.",
        ),
        (not facts, "It has not said anything of itself yet."),
    ]
    return [text for is_so, text in found if is_so]


def said_goodbye(record: AgentRecord) -> bool:
    """Its last word was a goodbye: it counts as gone when silence has followed for a while."""
    return record.rip_ms is not None and record.facts.get("here") is False


def absence_of(record: AgentRecord) -> str:
    """For operators: "gone", "said goodbye", or nothing while it is here."""
    if record.here:
        return "said goodbye" if said_goodbye(record) else ""
    return "gone"


def tags_of(record: AgentRecord) -> list[str]:
    """What is said beside its name."""
    tags = ["paused"] if record.facts.get("paused") is True else []
    left = _days_left(record.facts)
    if left is not None:
        tags.append(f"certificate: {_days(left)} left" if left >= 0 else "certificate ended")
    return tags


def _ends_soon(facts: dict[str, Any]) -> str:
    """ "ends on 2026-12-24, in 12 days" """
    left = _days_left(facts)
    if left is None:
        return ""
    ends = _text(_dict(facts.get("certificate")).get("ends"))[:10]
    return f"ends on {ends}, in {_days(left)}" if left >= 0 else f"ended on {ends}"


def _days_left(facts: dict[str, Any]) -> int | None:
    """None: long enough, or not known."""
    left = _dict(facts.get("certificate")).get("days_left")
    return left if type(left) is int and left < ENDS_SOON_DAYS else None


def _days(count: int) -> str:
    return f"{count} day{'' if count == 1 else 's'}"


def _until(facts: dict[str, Any]) -> str:
    try:
        until_ms = from_rfc3339(facts.get("paused_until"))
    except WireError:
        return ": it probes nothing until somebody there says so"
    at = datetime.fromtimestamp(until_ms / 1000, UTC)
    return f" until {at:%Y-%m-%d %H:%M} UTC: it probes nothing"


def refused_of(record: AgentRecord) -> list[Fact]:
    """Targets that this box will not probe, and why."""
    found = record.facts.get("refused")
    return [_refused(one) for one in found[:100]] if isinstance(found, list) else []


def listed_of(record: AgentRecord | None) -> list[str]:
    """What this box is to probe, as far as it says so; what it refuses is left out."""
    if record is None:
        return []
    listed = _dict(record.facts.get("list")).get("targets") or record.facts.get("targets")
    refused = {fact.name for fact in refused_of(record)}
    return [target for target in _texts(listed) if target not in refused]


def list_source_of(record: AgentRecord) -> str | None:
    """Where the list that it probes is from: "watch", "watch/<agent>", "--targets"; None: it
    does not say."""
    return _text(_dict(record.facts.get("list")).get("from")) or None


def _refused(one: Any) -> Fact:
    if isinstance(one, dict):
        name = one.get("target") or one.get("text")
        return Fact(_text(name), _text(one.get("reason")))
    if isinstance(one, list) and len(one) == 2:
        return Fact(_text(one[0]), _text(one[1]))
    return Fact(_text(one), "")


def seen_of(record: AgentRecord, exactly: bool) -> str:
    """RFC 3339 for an operator; for a viewer the day alone, so that nobody's life can be read."""
    if exactly:
        return rfc3339(record.seen_ms)
    return datetime.fromtimestamp(record.seen_ms / 1000, UTC).strftime("%Y-%m-%d")


def _link_line(facts: dict[str, Any], link: dict[str, Any]) -> str:
    line = link_of(facts)
    if not line:
        return ""
    if link.get("stated"):
        return f"{line} (said by its owner)"
    sure = link.get("confidence")
    percent = f" ({100 * sure:.0f} % sure)" if isinstance(sure, float) and 0 < sure < 1 else ""
    return f"{line}{percent}"


def _journal_line(journal: dict[str, Any]) -> str:
    if not journal:
        return ""
    waiting, confirmed = (_number(journal.get(name)) for name in ("waiting", "confirmed"))
    line = f"{waiting} waiting" if waiting else "nothing waiting"
    return f"{line}, {confirmed} confirmed" if confirmed else line


def _clock_line(clock: dict[str, Any]) -> str:
    trust = _text(clock.get("trust"))
    return _TRUST.get(trust, trust)


def _list_line(listed: dict[str, Any]) -> str:
    targets = _texts(listed.get("targets"))
    whence = _text(listed.get("from"))
    return f"{', '.join(targets)}{f' (from {whence})' if whence else ''}" if targets else ""


def _traffic_line(traffic: dict[str, Any]) -> str:
    used, left = _number(traffic.get("bytes")), traffic.get("left_bytes")
    line = f"{used / 1e6:.1f} MB" if used else ""
    return f"{line}, {_number(left) / 1e6:.0f} MB left" if line and _number(left) else line


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str:
    is_text = isinstance(value, (str, int, float)) and not isinstance(value, bool)
    return str(value)[:300] if is_text else ""


def _texts(value: Any) -> list[str]:
    return [_text(one) for one in value[:100]] if isinstance(value, list) else []


def _number(value: Any) -> int:
    return int(value) if isinstance(value, (int, float)) and abs(value) < 1e18 else 0
