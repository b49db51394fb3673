"""``swarming-agent join``: says what will be shared, asks, and puts a .swarm file in place.

It takes an invitation's line or a .swarm file. Nothing is sent and nothing written before the owner
has said yes; nothing is put in place that a broker would refuse.
"""

import argparse
import contextlib
import os
import sys
from time import sleep as pause
from typing import NamedTuple

from agent import config, control, names, status, swarm_file
from agent.config import Config, ConfigError
from agent.dial import Broker, BrokerError, parse_broker
from agent.membership import join, proof, sharing
from agent.membership.join import Invitation, JoinError, Refused, Unreachable
from agent.settings import agent_name
from agent.store_view import ViewError, view
from agent.swarm_file import SwarmFile, SwarmFileError

ASK_AGAIN_S = 5.0
FAILED = 1  # exit status
_INIT_SCRIPT = "etc/init.d/swarming-agent"
_UNITS = ("/etc/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system")


def run(options: argparse.Namespace) -> int:
    """0 once the box has joined; 1 when the page or the owner says no; ConfigError."""
    path = config.swarm_path(options)
    present = _present(options)
    before = _membership(path)
    word = join.bare(options.invitation)
    way_in = _by_line if join.is_line(word) else _by_file
    try:
        joined = way_in(word, _Owner(options, present, before, path))
    except SwarmFileError as error:
        raise ConfigError(str(error)) from error
    except JoinError as error:
        print(f"swarming-agent: {error}", file=sys.stderr)
        return FAILED
    if not joined:
        print("Nothing was sent or written.")
        return FAILED
    print(f"Joined: {path}")
    _begin_anew(present.journal)
    after = _membership(path)
    same = before and after and (before.name, before.brokers) == (after.name, after.brokers)
    print(next_step(path, running=_woken(present.journal), same=bool(same)))
    return 0


class _Owner(NamedTuple):
    """What the owner of the box has said, and what the box is so far."""

    options: argparse.Namespace
    present: Config  # without the .swarm file
    before: SwarmFile | None
    path: str  # of the .swarm file

    def told(self, what: str, name: str, offered: str | None) -> str | None:
        """Place or ISP: as it is said now, else as offered, else as this name had it before."""
        said = getattr(self.options, what)
        if said is not None:
            return said.strip() or None
        kept = getattr(self.before, what) if self.before and self.before.name == name else None
        return offered or kept


def _by_line(line: str, owner: _Owner) -> bool:
    try:
        invitation = join.read_line(line)
    except JoinError as error:
        raise ConfigError(str(error)) from error
    place = owner.told("place", invitation.name, owner.present.place)
    isp = owner.told("isp", invitation.name, owner.present.isp)
    page = str(invitation.server)
    told = sharing.Joining(invitation.name, (), page, place, isp)
    hosts = {broker.host for broker in _brokers(owner.before)}
    if not _agreed(owner, told, same_swarm=invitation.server.host in hosts):
        return False
    joining = f"{owner.path}.joining"
    try:
        made = _patiently(invitation, joining, place, isp)
    except Refused:
        _remove(joining)
        raise
    _put(owner, made)
    _remove(joining)
    return True


def _by_file(file: str, owner: _Owner) -> bool:
    made = swarm_file.read(file)
    if made is None:
        raise ConfigError(f"{file} is empty")
    agent_name(made.name, file)  # before it is shown
    place, isp = (owner.told(what, made.name, getattr(made, what)) for what in ("place", "isp"))
    made = made._replace(place=place, isp=isp)
    told = sharing.Joining(made.name, made.brokers, None, made.place, made.isp)
    same_swarm = owner.before is not None and owner.before.ca.split() == made.ca.split()
    if not _agreed(owner, told, same_swarm):
        return False
    _put(owner, made)
    return True


def _present(options: argparse.Namespace) -> Config:
    """The configuration without the .swarm file, which may be broken, or not there yet."""
    return config.load(argparse.Namespace(**{**vars(options), "swarm": os.devnull}))


def _membership(path: str) -> SwarmFile | None:
    """What the box is a member of so far; None: of nothing that could be read."""
    with contextlib.suppress(SwarmFileError):
        return swarm_file.read(path)
    return None


def _brokers(member: SwarmFile | None) -> list[Broker]:
    found = []
    for word in member.brokers if member else ():
        with contextlib.suppress(BrokerError):
            found.append(parse_broker(word, tls=True))
    return found


def _agreed(owner: _Owner, told: sharing.Joining, same_swarm: bool) -> bool:
    """What the owner says to it."""
    present = owner.present
    if present.cert is not None:
        raise ConfigError("join: the configuration names a cert, which would beat the new one")
    if present.name not in (None, told.name):
        raise ConfigError(f"join: the configuration's name is {present.name!r}, not {told.name!r}")
    if not owner.options.yes and not sys.stdin.isatty():
        raise ConfigError("join: there is no terminal to answer at; --yes answers yes")
    print(sharing.text(told))
    if replaced := _replaced(owner, told.name, same_swarm):
        print(f"{replaced}\n")
    if owner.options.yes:
        return True
    return input("Join? [y/N] ").strip().lower() in ("y", "yes")


def _replaced(owner: _Owner, name: str, same_swarm: bool) -> str:
    """What the box ceases to be, and what becomes of results that it measured until now."""
    before = owner.before.name if owner.before else names.known(owner.present)
    if before is None or (before == name and (same_swarm or not owner.before)):
        return ""
    waiting = _waiting(owner.present.journal)
    under = "there" if before == name else f"under the new name, {name}"
    moved = f"{waiting} results that are not confirmed yet will go out {under}." if waiting else ""
    if owner.before is None:
        return moved and f"This box has been {before}.\n{moved}"
    where = ", ".join(map(str, _brokers(owner.before)))
    return f"This box is {before} in the swarm at {where}; this replaces it.\n{moved}".strip()


def _waiting(journal: str) -> int:
    try:
        seen = view(journal)
    except ViewError:
        return 0
    try:
        return seen.counts.waiting
    except ViewError:
        return 0
    finally:
        seen.close()


def _patiently(
    invitation: Invitation, joining: str, place: str | None, isp: str | None
) -> SwarmFile:
    """Asks until there is an answer. Once the page has said "wait", it may also be away."""
    key = join.kept_key(joining, invitation)
    waits = False
    try:
        while True:
            try:
                made = join.ask(invitation, key, place, isp)
            except Unreachable:
                if not waits:
                    raise
            else:
                if made is not None:
                    return made
                if not waits:
                    print(f"This box's key is {join.key_digest(key)}")
                    print("An operator must approve: waiting (Ctrl-C ends it).", flush=True)
                waits = True
            pause(ASK_AGAIN_S)
    except KeyboardInterrupt:
        print("\nThe same line goes on from here.")
        raise


def _put(owner: _Owner, made: SwarmFile) -> None:
    """Into its place, if the agent would take it and a broker, too."""

    def prove(new: str) -> None:
        told = {**vars(owner.options), "swarm": new}
        names.settle(config.load(argparse.Namespace(**told)))
        proof.prove(new)

    try:
        swarm_file.write(owner.path, made.text, prove)
    except (ConfigError, proof.ProofError) as error:
        words = str(error).replace(f"{os.path.realpath(owner.path)}.new", "the new file")
        raise JoinError(f"nothing was changed, since it could not be used: {words}") from error


def _begin_anew(journal: str) -> None:
    """A box that had left is no longer gone."""
    path = control.path_beside(journal)
    if control.read(path).left or control.read(path).gone:
        with contextlib.suppress(OSError):
            control.write(path, control.Control())


def _woken(journal: str) -> bool:
    """Whether an agent runs on this journal; it reads again what it can without a restart."""
    try:
        status.wake(journal)
    except (status.StatusError, OSError):
        return False
    return True


def next_step(path: str, running: bool, same: bool = False, root: str = "/") -> str:
    """What is left to do on this system. ``same``: name and brokers are what they were."""
    if os.path.realpath(path) == swarm_file.SYSTEM_PATH:
        if os.path.exists(os.path.join(root, _INIT_SCRIPT)):
            return f"Next: /{_INIT_SCRIPT} enable; /{_INIT_SCRIPT} restart"
        units = (os.path.join(root + unit, "swarming-agent.service") for unit in _UNITS)
        if any(map(os.path.exists, units)):
            return "Next: systemctl enable swarming-agent; systemctl restart swarming-agent"
    named = "" if path == swarm_file.default_path(os.environ) else f" --swarm {path}"
    if running and same:
        return "The agent that runs takes it, its certificate at the next connection."
    if running:
        return f"Next: end the agent that runs, and start it again: swarming-agent{named}"
    return f"Next: swarming-agent{named}"


def _remove(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
