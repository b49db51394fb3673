"""``swarming-agent leave``: the swarm is told first; only then is removed what ties the box to it.

A running agent tells the broker that it is connected to, and ends; the others are told from here.
A broker counts as told when it hands the retained word back: brokers acknowledge what they drop.
"""

import argparse
import fcntl
import glob
import os
import signal
import sys
import time
from typing import Any, NamedTuple

from agent import VERSION, clock, control, names, status, swarm_file, wire
from agent.config import Config, ConfigError
from agent.connection import Broker, Credentials
from agent.control import Control
from agent.dial import parse_broker
from agent.errand import Member
from agent.membership import last_word
from agent.store_view import ViewCounts, ViewError, view

TOLD_BY_AGENT_S = 45.0
ENDS_WITHIN_S = 30.0
_LOOK_S = 0.2
_BESIDE = ("-wal", "-shm", "-journal", ".lock")


class Leaving(NamedTuple):
    """All that the command goes by."""

    name: str
    brokers: tuple[Broker, ...]
    runs: bool  # an agent
    counts: ViewCounts | None  # of the journal
    files: tuple[str, ...]
    forget: bool


def run(options: argparse.Namespace, config: Config) -> int:
    """0: the box has left; 1: it has not, and nothing was removed."""
    leaving = _plan(config, options.forget)
    if leaving is None:
        print("this box is in no swarm: it has no name, no journal and no .swarm file")
        return 0
    print(_in_words(leaving))
    if not options.yes and not _agreed():
        print("nothing was changed")
        return 1
    before = control.read(control.path_beside(config.journal))
    reading = _reading(leaving.counts)
    forget = wire.rfc3339(reading.wall_ms) if leaving.forget else None
    try:
        told = _tell(config, leaving, forget, reading)
    except KeyboardInterrupt:
        _take_back(config, before)
        raise
    if not told and not options.force:
        _take_back(config, before)
        print(
            "nothing was removed: the swarm does not know yet. Try again when a broker can be "
            "reached, or leave without a word with --force",
            file=sys.stderr,
        )
        return 1
    return _end(config, leaving, forget)


# --- what it is about


def _plan(config: Config, forget: bool) -> Leaving | None:
    running = _running(config.journal)
    about = running.get("about", {})
    name = names.known(config) or about.get("agent")
    files = files_of(config)
    if name is None or not (files or running or config.cert):
        return None
    brokers = dict.fromkeys([*config.brokers, *map(parse_broker, about.get("brokers", ()))])
    return Leaving(name, tuple(brokers), bool(running), _counts(config.journal), files, forget)


def files_of(config: Config) -> tuple[str, ...]:
    """What ties this box to its swarm, and is there."""
    journal = config.journal
    found = [names.path_beside(journal), journal]
    found += [journal + suffix for suffix in _BESIDE]
    found += sorted(glob.glob(glob.escape(journal) + ".corrupt-*"))
    if config.swarm is not None:
        found += [config.swarm, config.swarm + ".joining"]
    return tuple(path for path in found if os.path.lexists(path))


def _running(journal: str) -> dict[str, Any]:
    """What the running agent says; empty: none runs."""
    try:
        return status.ask(journal) or {"about": {}}
    except status.NobodyThere:
        return {}


def _counts(journal: str) -> ViewCounts | None:
    try:
        seen = view(journal)
    except ViewError:
        return None
    try:
        return seen.counts
    except ViewError:
        return None
    finally:
        seen.close()


def _reading(counts: ViewCounts | None) -> clock.Reading:
    """The time now, later than all that was measured."""
    boot_ns, wall_ns = clock.now_ns()
    newest_ms = counts.known_ms if counts else None
    judged = clock.Clock(clock.boot_id(), boot_ns, newest_ms)
    judged.heard(clock.ask(), boot_ns, wall_ns)
    return judged.reading(*clock.now_ns())


def _in_words(leaving: Leaving) -> str:
    told = " ".join(map(str, leaving.brokers)) or "nobody, for no broker is named"
    kept = "stays there"
    if leaving.forget:
        kept = "is deleted there as well"
    lines = [f"{leaving.name} leaves its swarm.", f"  told: {told}"]
    lines.append(f"  what {leaving.name} has measured {kept}")
    if leaving.counts and leaving.counts.waiting:
        lines.append(f"  lost: {leaving.counts.waiting} results that nobody has confirmed yet")
    for path in leaving.files:
        if path.endswith(_BESIDE):
            continue  # what SQLite and we put beside the journal goes with it
        lines.append(f"  {'emptied' if _is_emptied(path) else 'removed'}: {path}")
    return "\n".join(lines)


def _agreed() -> bool:
    try:
        return input("Leave? [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        print()
        return False


# --- telling the swarm


def _tell(config: Config, leaving: Leaving, forget: str | None, reading: clock.Reading) -> bool:
    """Whether a broker holds the last word. A running agent has ended then."""
    told: list[str] = []
    if leaving.runs:
        _write(config, Control(left=True, forget=forget))
        if not _has_ended(config, signal.SIGHUP, TOLD_BY_AGENT_S):
            print("the running agent could not tell any broker", file=sys.stderr)
            return False
        by_agent = control.read(control.path_beside(config.journal)).told
        told += [by_agent] if by_agent else []
    facts: dict[str, Any] = {"v": wire.VERSION, "version": VERSION, "agent": leaving.name}
    facts |= {"here": False, "left": True, "time": wire.rfc3339(reading.wall_ms)}
    facts |= {"clock": {"trust": reading.trust}}
    facts |= {"forget": forget} if forget is not None else {}
    dates = reading.trust not in ("waiting", "unsynced")
    credentials = Credentials(config.ca, config.cert, config.key, dates)
    who = Member(leaving.name, credentials, config.mqtt)
    others = [broker for broker in leaving.brokers if str(broker) not in told]
    for answer in last_word.leave_at(others, who, facts):
        told += [] if answer.what else [str(answer.asked)]
        if answer.what:
            print(f"{answer.asked}: not told: {answer.what}", file=sys.stderr)
    for broker in told:
        print(f"{broker}: told")
    return bool(told)


def _write(config: Config, wish: Control) -> None:
    try:
        control.write(control.path_beside(config.journal), wish)
    except OSError as error:
        raise ConfigError(f"{config.journal}: {error.strerror}") from error


def _has_ended(config: Config, number: signal.Signals, within_s: float) -> bool:
    """Signals the running agent; whether it ends."""
    end_s = time.monotonic() + within_s
    try:
        os.kill(status.pid(config.journal), number)
        while time.monotonic() < end_s:
            status.pid(config.journal)
            time.sleep(_LOOK_S)
    except status.NobodyThere:
        return True
    except OSError as error:
        raise ConfigError(f"the running agent cannot be told: {error.strerror}") from error
    return False


def _take_back(config: Config, before: Control) -> None:
    """As if nothing had been asked; a running agent goes on."""
    if control.read(control.path_beside(config.journal)).left:
        _write(config, before._replace(problem=None))
        try:
            status.wake(config.journal)
        except (status.StatusError, OSError):
            return


# --- the end


def _end(config: Config, leaving: Leaving, forget: str | None) -> int:
    """Removes what is to be removed; the wish stays, so that a service does not come back by
    itself under another name."""
    if os.path.isdir(os.path.dirname(os.path.abspath(config.journal))):
        _write(config, Control(left=True, gone=True, forget=forget))
    if _running(config.journal) and not _has_ended(config, signal.SIGTERM, ENDS_WITHIN_S):
        print("the running agent does not end; nothing was removed", file=sys.stderr)
        return 1
    lock = _locked(config.journal)
    code = 0
    for path in files_of(config):
        code = max(code, _remove(path))
    if lock is not None:
        os.close(lock)
    print(f"{leaving.name} has left. A service stays as it is: stop it, or join again")
    return code


def _locked(journal: str) -> int | None:
    """The journal is ours now; ConfigError: an agent that cannot be asked from here uses it."""
    try:
        handle = os.open(f"{journal}.lock", os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(handle)
        raise ConfigError(f"another agent uses {journal}: end it first") from error
    except OSError:
        pass  # this file system has no locks
    return handle


def _is_emptied(path: str) -> bool:
    """A package has put it there, and its service wants it to be there."""
    return path == swarm_file.SYSTEM_PATH


def _remove(path: str) -> int:
    try:
        if _is_emptied(path):
            swarm_file.write(path, "")
        else:
            os.unlink(path)
    except (OSError, swarm_file.SwarmFileError) as error:
        print(f"{path} cannot be removed: {error}", file=sys.stderr)
        return 1
    return 0
