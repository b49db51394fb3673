"""Whose agent a command is about. Beside the system's, which is root's, a user's mere word would be
about an agent that never was; then nothing is done, and ``sudo`` is named."""

import argparse
import os
from collections.abc import Mapping

from agent import config, names, swarm_file
from agent.config import ConfigError

SYSTEM_CONFIG = "/etc/swarming/agent.toml"  # which a package's launcher names for everybody
_NAMED = ("path", "journal", "swarm", "config", "name", "cert", "brokers")
SAID = "the agent of this box is the system's, which is root's"


def check(command: str, flags: argparse.Namespace) -> None:
    """ConfigError where only the system's agent can be meant, and we are not root."""
    if is_only_systems(flags):
        own = "--swarm FILE" if command == "join" else "--journal FILE"
        raise ConfigError(f"{SAID}: sudo swarming-agent {command} ({own} names one of yours)")


def is_only_systems(flags: argparse.Namespace, environ: Mapping[str, str] = os.environ) -> bool:
    """Nothing is named, no agent of this user's has ever run, and the system has one."""
    return is_systems(environ) and not (_is_named(flags, environ) or _has_own(environ))


def is_systems(environ: Mapping[str, str] = os.environ) -> bool:
    """The system has an agent, and what is its own is closed to this user."""
    if os.geteuid() == 0 or os.access(config.STATE_FOLDER, os.W_OK):
        return False
    if swarm_file.default_path(environ) == swarm_file.SYSTEM_PATH:
        return False
    if any(map(os.path.lexists, (swarm_file.SYSTEM_PATH, SYSTEM_CONFIG))):
        return True
    state = config.STATE_FOLDER  # systemd's is a link to where nobody may look
    there = os.path.lexists(os.path.join(state, config.JOURNAL))
    return there or (os.path.lexists(state) and not os.access(state, os.X_OK))


def _is_named(flags: argparse.Namespace, environ: Mapping[str, str]) -> bool:
    if any(getattr(flags, name, None) for name in _NAMED):
        return True
    told = {name: environ.get(f"SWARMING_{name.upper()}", "").strip() for name in _NAMED}
    return any(value for value in told.values() if value != SYSTEM_CONFIG)


def _has_own(environ: Mapping[str, str]) -> bool:
    """An agent of this user's has run here, or joined."""
    journal = config.default_journal(environ)
    own = (journal, names.path_beside(journal), swarm_file.default_path(environ))
    return any(map(os.path.exists, own))
