"""What ``doctor`` looks at on this box; a running agent is asked, and not disturbed."""

import contextlib
import os
import tempfile
import time
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from agent import certificate, clock, control, errand, link, linkguess, status, whose
from agent.config import Config
from agent.doctor import words
from agent.doctor.words import Finding, Looked, Room
from agent.expiry import DAY_MS, MOST_BYTES
from agent.probe_icmp import open_pinger
from agent.resolve import ResolveError, Resolver, as_literal
from agent.store_file import JournalFile
from agent.store_view import ViewCounts, ViewError, view

LOOK_UP_S = 8.0
_PING_S = 1.0
_RESOLV = "/etc/resolv.conf"
_HOSTS = "/etc/hosts"
_TRIED_BYTES = 64 * 1024  # of a file that is written, to see whether the disk takes it


def running(journal: str) -> tuple[dict[str, Any], Finding]:
    """What the running agent says of itself; {} where none runs, or it does not tell us."""
    try:
        told = status.ask(journal)
    except status.NobodyThere:
        advice = "it is started by its service, or swarming-agent BROKER"
        if whose.is_systems():
            advice = "run this as root: then it is about the system's own agent"
        return {}, Finding("agent", "warn", f"none runs on {journal}", advice)
    except status.StatusError as error:
        return {}, Finding("agent", "unknown", str(error), "run this as root, or as its user")
    name = told.get("about", {}).get("agent")
    return told, Finding("agent", "ok", f"{name} runs, process {told.get('pid')}")


def owner(journal: str) -> Finding | None:
    wish = control.read(control.path_beside(journal))
    told = {"gone": wish.gone, "problem": wish.problem, "words": control.in_words(wish)}
    return words.of_owner(told)


def icmp(told: dict[str, Any]) -> Finding:
    if told:  # it may be another user than we are
        return words.of_icmp(told.get("about", {}).get("icmp"), told.get("icmp_advice"))
    pinger = open_pinger()
    tried = pinger.ping("127.0.0.1", 4, count=1, timeout_s=_PING_S)  # a ping may not be allowed to
    method = None if tried.get("error") == "permission" else pinger.method
    return words.of_icmp(method, pinger.advice)


def the_clock(told: dict[str, Any], newest_ms: int | None) -> tuple[Finding, bool]:
    """And whether it is known to be wrong, so that no certificate can be judged by it."""
    facts, (boot_ns, wall_ns) = clock.ask(), clock.now_ns()
    judged = clock.Clock(clock.boot_id(), boot_ns, newest_ms)
    judged.heard(facts, boot_ns, wall_ns)
    trust = told.get("about", {}).get("clock", {}).get("trust")
    wrong = (trust or judged.reading(boot_ns, wall_ns).trust) in ("waiting", "unsynced")
    return words.of_clock(facts, wall_ns // clock.NS_PER_MS, trust), wrong


def resolver(brokers: Sequence[str], targets: Sequence[str]) -> Finding:
    """The brokers' names and one of the list are looked up, all at once."""
    needed = [host for host in brokers if as_literal(host) is None]
    others = [host for host in map(_host, targets) if host and as_literal(host) is None]
    hosts = list(dict.fromkeys([*needed, *others[:1]]))
    never = Looked("", 0.0, "resolver_timeout")
    answers = errand.everywhere(hosts, _look_up, never, LOOK_UP_S + 1)
    looked = [answer.what._replace(host=answer.asked) for answer in answers]
    local = hosts and set(hosts) <= _names_of_this_box()
    return words.of_resolver(looked, [_HOSTS] if local else _name_servers(), needed)


def own_certificate(config: Config, name: str | None, clock_is_wrong: bool) -> Finding | None:
    if config.cert is None:
        return None
    try:
        with open(config.cert, encoding="ascii", errors="replace") as file:
            pem = file.read(MOST_BYTES)
    except OSError as error:
        return Finding("certificate", "bad", f"{config.cert}: {error.strerror}")
    ends_ms = certificate.ends_ms(pem)
    ends = None if ends_ms is None else certificate.day(ends_ms)
    days_left = None if ends_ms is None else (ends_ms - time.time_ns() // 1_000_000) // DAY_MS
    if clock_is_wrong:
        days_left = None
    return words.of_certificate(name, certificate.common_name(pem), ends, days_left)


def counted(journal: str) -> tuple[ViewCounts | None, frozenset[str], Finding | None]:
    """What the journal holds, the epochs by which it knows itself, and what is wrong with it."""
    if not os.path.exists(journal) or not os.path.getsize(journal):
        return None, frozenset(), None
    try:
        with contextlib.closing(view(journal)) as seen:
            return seen.counts, seen.epochs, None
    except ViewError as error:
        return None, frozenset(), Finding("journal", "bad", str(error))


def journal(config: Config, told: dict[str, Any], counts: ViewCounts | None) -> Finding:
    path = config.journal
    used_bytes = counts.bytes if counts else 0
    most_bytes = min(config.max_bytes, JournalFile(path).most_bytes(used_bytes))
    problem = None if told else _why_not_written(path)
    room = Room(path, problem, _free_bytes(path), most_bytes, config.max_rows)
    return words.of_journal(room, counts, told.get("about", {}).get("journal", {}).get("memory"))


def line(config: Config, told: dict[str, Any]) -> Finding:
    """The running agent's word: a modem must not be asked by two at the same time."""
    said = told.get("about", {}).get("link")
    if said:
        return words.of_link(str(said.get("type")), said.get("iface"), said.get("evidence") or ())
    guess = linkguess.guess(link.gather("/", link.own_ways(config.at, config.pages)), config.link)
    return words.of_link(guess.type, guess.iface, guess.evidence)


def budget(config: Config, told: dict[str, Any]) -> Finding:
    about = told.get("about", {})
    left_bytes = about.get("traffic", {}).get("left_bytes")
    return words.of_budget(left_bytes, "budget" in about, config.budget_bytes)


def _look_up(host: str) -> Looked:
    begun_s, error = time.monotonic(), None
    try:
        Resolver().resolve(host, LOOK_UP_S)
    except ResolveError as failure:
        error = failure.word
    return Looked(host, (time.monotonic() - begun_s) * 1000, error)


def _host(target: str) -> str | None:
    """Of a word of the list; the list itself is judged elsewhere."""
    with contextlib.suppress(ValueError):
        return urlsplit(target if "://" in target else f"//{target}").hostname
    return None


def _name_servers() -> list[str]:
    return [row[1] for row in _rows(_RESOLV) if row[:1] == ["nameserver"] and len(row) > 1]


def _names_of_this_box() -> set[str]:
    """For which no name server is asked."""
    return {name for row in _rows(_HOSTS) for name in row[1:]}


def _rows(path: str) -> list[list[str]]:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return [row.partition("#")[0].split() for row in file.read(65536).splitlines()]
    except OSError:
        return []


def _why_not_written(path: str) -> str | None:
    """Writes beside the journal, never into it: a disk that is full or read-only shows it there."""
    folder = os.path.dirname(os.path.abspath(path))
    while not os.path.isdir(folder):
        folder = os.path.dirname(folder)  # the agent will make it
    if os.path.exists(path) and not os.access(path, os.W_OK):
        return "it may not be written by this user"
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(_TRIED_BYTES))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return error.strerror or str(error)
    return None


def _free_bytes(path: str) -> int | None:
    try:
        disk = os.statvfs(os.path.dirname(os.path.abspath(path)))
    except OSError:
        return None
    return disk.f_bavail * disk.f_frsize
