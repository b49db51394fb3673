"""What ``doctor`` says of what it has found, for a person who is no engineer. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from agent import clock
from agent.clock import BUILT_MS, LAST_MS
from agent.expiry import WARN_DAYS, in_words
from agent.store_view import ViewCounts
from agent.wire import for_people, rfc3339

FULL_PART = 0.8  # of what the journal may hold: then it is said
_STUCK = 100  # results published and none confirmed


class Finding(NamedTuple):
    """One line. ``state`` is ok, warn (it works, and could be better), bad, or unknown."""

    what: str
    state: str
    said: str
    advice: str = ""


class Looked(NamedTuple):
    """What the resolver gave for one name."""

    host: str
    took_ms: float
    error: str | None  # a word of wire.ERRORS


class Room(NamedTuple):
    """Where the journal lies, and what may lie there."""

    path: str
    problem: str | None  # why nothing can be written there
    free_bytes: int | None
    most_bytes: int
    most_rows: int


def line(finding: Finding) -> str:
    """State, what it is about, what was found, and what to do about it."""
    shown = {"ok": "ok", "warn": "warn", "bad": "BAD", "unknown": "?"}[finding.state]
    advice = f" -> {finding.advice}" if finding.advice else ""
    return f"{shown:5}{finding.what:12} {finding.said}{advice}"


# --- this box


def of_icmp(method: str | None, advice: str | None) -> Finding:
    if method in ("dgram", "raw"):
        kind = "unprivileged" if method == "dgram" else "raw"
        return Finding("icmp", "ok", f"pings by {kind} sockets")
    if method == "ping":
        said = "pings by the system's ping command, which is dearer and less exact"
        return Finding("icmp", "warn", said, f"as root: {advice}" if advice else "")
    said = "this box may not ping: no target can be pinged, only web pages can be visited"
    return Finding("icmp", "bad", said, f"as root: {advice}" if advice else "")


def of_clock(facts: clock.Facts, wall_ms: int, trust: str | None = None) -> Finding:
    """``trust``: what a running agent thinks of the clock; it has heard more than we."""
    now, source = for_people(rfc3339(wall_ms)), facts.source
    set_it = "let it be set: timedatectl set-ntp true; on OpenWrt: /etc/init.d/sysntpd restart"
    if not BUILT_MS <= wall_ms < LAST_MS:
        return Finding("clock", "bad", f"it says {now}, which cannot be", set_it)
    if facts.synchronised:
        age_s = 0 if facts.vouched_ms is None else (wall_ms - facts.vouched_ms) // 1000
        heard = f", heard {age_s // 60} min ago" if age_s >= 60 else ""
        return Finding("clock", "ok", f"{now}; {source} vouches for it{heard}")
    if trust in ("ntp", "indexer"):
        return Finding("clock", "ok", f"{now}; vouched for ({trust})")
    if facts.synchronised is None:
        said = f"{now}; nobody here can say whether that is right"
        return Finding("clock", "unknown", said, set_it)
    if facts.rtc:
        said = f"{now}, by this box's own clock alone: {source} has not set it yet"
        return Finding("clock", "warn", said, set_it)
    said = f"{now}; {source} says that it is not set: results wait, or are marked and do not vote"
    return Finding("clock", "bad", said, set_it)


def of_resolver(looked: Sequence[Looked], servers: Sequence[str], needed: Iterable[str]) -> Finding:
    """``needed`` are the names without which no broker can be reached."""
    by = " ".join(servers) or "no name server that is named in /etc/resolv.conf"
    silent = [one.host for one in looked if one.error not in (None, "unknown_host")]
    unknown = [one.host for one in looked if one.error == "unknown_host"]
    if not looked:
        return Finding("resolver", "ok", "no name has to be looked up, all are addresses")
    if silent:
        said = f"no answer for {' '.join(silent)} from {by}"
        return Finding("resolver", "bad", said, "is the network up? is that name server right?")
    if unknown:
        state = "bad" if set(unknown) & set(needed) else "warn"
        said = f"there is no {' and no '.join(unknown)}, says {by}"
        return Finding("resolver", state, said, "is it spelt right?")
    slowest = max(looked, key=lambda one: one.took_ms)
    names = f"{len(looked)} names" if len(looked) > 1 else looked[0].host
    return Finding("resolver", "ok", f"{names} in {slowest.took_ms:.0f} ms, by {by}")


def of_certificate(
    name: str | None, common_name: str | None, ends: str | None, days_left: int | None
) -> Finding:
    """``days_left`` None: this box does not know what day it is."""
    again = "ask your operator to invite this box again"
    if common_name is None or ends is None:
        return Finding("certificate", "bad", "it cannot be read", again)
    if name is not None and common_name != name:
        said = f"it is for {common_name}, and this box is {name}"
        return Finding("certificate", "bad", said, f"call it {common_name}, or {again}")
    if days_left is None:
        said = f"for {common_name}, ends on {ends}"
        return Finding("certificate", "unknown", said, "see clock")
    if days_left >= WARN_DAYS:
        return Finding("certificate", "ok", f"for {common_name}, ends on {ends}")
    return Finding(
        "certificate", "bad" if days_left < 0 else "warn", in_words(ends, days_left), again
    )


def of_journal(room: Room, counts: ViewCounts | None, memory: str | None) -> Finding:
    """``memory``: why a running agent keeps its results there."""
    make_room = "make room on that disk, or name another place with --journal"
    if memory is not None:
        said = f"the disk refuses {room.path} ({memory}): results are in memory, a cut loses them"
        return Finding("journal", "bad", said, make_room)
    if room.problem is not None:
        said = f"{room.path} cannot be written: {room.problem}"
        return Finding("journal", "bad", said, make_room)
    if counts is None:
        return Finding("journal", "ok", f"{room.path}: none yet, the agent begins it")
    held = f"{_size(counts.bytes)} of at most {_size(room.most_bytes)}"
    said = f"{counts.waiting} results wait, {held}"
    said += "" if room.free_bytes is None else f", {_size(room.free_bytes)} free on its disk"
    part = max(counts.waiting / room.most_rows, counts.bytes / max(room.most_bytes, 1))
    if counts.lost or part >= FULL_PART:
        lost = f", {counts.lost} were lost for want of room" if counts.lost else ""
        advice = f"a broker with an indexer empties it; or {make_room}"
        return Finding("journal", "warn", f"{said}: {part:.0%} full{lost}", advice)
    return Finding("journal", "ok", said)


def of_results(
    counts: ViewCounts | None, silence: str | None, indexer_online: bool
) -> Finding | None:
    """Published, an indexer is there, and nothing comes back: the broker drops it in silence."""
    stuck = counts is not None and counts.published >= _STUCK and not counts.confirmed
    if silence is None and not (stuck and indexer_online):
        return None
    said = silence or "published, an indexer online, nothing confirmed"
    advice = "show this to your operator: the broker's access list, or a limit on a message's size"
    return Finding("results", "bad", said, advice)


def of_link(type_: str, iface: str | None, why: Sequence[str]) -> Finding:
    if type_ == "unknown":
        said = "what line this box is on cannot be told" if iface else "there is no way out of here"
        advice = "say it with --link TYPE" if iface else "is the cable in, the network up?"
        return Finding("link", "warn" if iface else "bad", said, advice)
    by = f" by {iface}" if iface else ""
    return Finding("link", "ok", f"{type_}{by}" + (f": {why[0]}" if why else ""))


def of_budget(left_bytes: int | None, spent: bool, limit_bytes: int | None) -> Finding:
    if spent:
        said = "this month's bytes are spent: one probe and one batch an hour"
        return Finding("budget", "warn", said, "--budget allows more")
    if left_bytes is not None:
        return Finding("budget", "ok", f"{_size(left_bytes)} left of this month")
    if limit_bytes is not None:
        return Finding("budget", "ok", f"{_size(limit_bytes)} a month")
    return Finding("budget", "ok", "none but on mobile lines, 500 MB a month there")


def of_owner(told: Mapping[str, Any]) -> Finding | None:
    """What the owner has told the agent; usually nothing."""
    if told.get("gone"):
        advice = "swarming-agent join, to come back"
        return Finding("agent", "bad", "this box has left its swarm", advice)
    if said := told.get("problem") or told.get("words"):
        return Finding("agent", "warn", str(said), "swarming-agent resume")
    return None


def _size(count_bytes: int) -> str:
    for unit, bytes_each in (("GB", 10**9), ("MB", 10**6)):
        if count_bytes >= bytes_each:
            return f"{count_bytes / bytes_each:.0f} {unit}"
    return f"{count_bytes / 1000:.0f} kB"
