"""What a person types at the indexer's commands becomes what is meant, or one line says why not."""

import contextlib
import difflib
import os
import re
from collections.abc import Iterable

from agent import targets, wire
from indexer.elastic import address
from indexer.elastic.address import is_engine
from indexer.store import Store
from indexer.stores import OWN, open_store, takes_prefix, with_prefix

_FAMILIES = ("results-*", "rollups-*", "unsynced", "verdicts", "agents", "watches", "dead", "state")
_ANY = "size=0&terminate_after=1&ignore_unavailable=true&allow_no_indices=true"
FORMATS = ("ndjson", "csv", "parquet")
_UNITS_MS = {"m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}


class BadInput(Exception):
    """One line says what is wrong with what was typed."""


def existing(
    text: str, option: str = "--store", *, look: bool = False, secrets: str = OWN
) -> Store:
    """The store; one that is not there is a slip of the pen, not a store to be made."""
    path = _file_of(text)
    if path and not os.path.exists(path):
        raise BadInput(f"{option} {text}: there is no such file")
    if is_engine(text):
        _check_indices(text, option, secrets)
    return open_store(text, look=look, secrets=secrets)


def _file_of(text: str) -> str | None:
    """The file that the store is; None: it is none."""
    scheme, _, path = text.partition(":")
    return path if scheme == "sqlite" else None


def _check_indices(text: str, option: str, secrets: str) -> None:
    """They are there; and all is found in them that others have written until now, if we may ask
    for that."""
    from indexer.elastic.engine import Engine, Refusal, at_start, check_access

    where = address.parse(text)
    check_access(where, secrets)
    names = ",".join(f"{where.prefix}-{family}" for family in _FAMILIES)
    with contextlib.closing(Engine(where, secrets)) as engine:
        try:
            with at_start(where):
                found = engine.ask("POST", f"/{names}/_search?{_ANY}", timeout_s=60)
        except Refusal:
            return  # opening the store says it better
        if not found["_shards"]["total"]:
            raise BadInput(f"{option} {text}: there are no indices {where.prefix}-*")
        with contextlib.suppress(Refusal):
            engine.ask("POST", f"/{names}/_refresh?ignore_unavailable=true", timeout_s=60)


def check_not_store(path: str, text: str) -> None:
    """What is written takes the place of the file that was there."""
    kept = _file_of(text)
    if kept and _same_file(path, kept):
        raise BadInput(f"{path} is the store itself")


def _same_file(one: str, other: str) -> bool:
    return os.path.exists(one) and os.path.exists(other) and os.path.samefile(one, other)


def two_stores(begin: str, to: str, prefix: str | None) -> tuple[str, str]:
    """From where to where a copy goes; the prefix is of whichever is an engine's and has none."""
    found = begin, to
    if prefix is not None:
        takes = [takes_prefix(text) for text in found]
        if not any(takes):
            raise BadInput("--index-prefix: neither --from nor --to is an engine that wants one")
        begin, to = (
            with_prefix(text, prefix) if this else text
            for text, this in zip(found, takes, strict=True)
        )
    if _same_store(begin, to):
        raise BadInput(f"--from and --to are the same store: {to}")
    return begin, to


def _same_store(one: str, other: str) -> bool:
    if is_engine(one) and is_engine(other):
        here, there = address.parse(one), address.parse(other)
        return bool(
            set(here.urls) & set(there.urls)
            and here.indices is None
            and here.prefix == there.prefix
        )
    paths = _file_of(one), _file_of(other)
    return one == other or bool(paths[0] and paths[1] and _same_file(paths[0], paths[1]))


def is_old_swarm(text: str) -> bool:
    """Whether the address names indices of its own: those of a first swarm."""
    return is_engine(text) and address.parse(text).indices is not None


def in_full(text: str) -> str:
    """The same for the same store, wherever it is typed."""
    path = _file_of(text)
    return text if path is None else f"sqlite:{os.path.realpath(path)}"


def check_may_be_made(path: str, force: bool) -> None:
    """Said of this very file: the store would be blamed for what is wrong here."""
    folder = os.path.dirname(os.path.abspath(path))
    if not os.path.isdir(folder):
        raise BadInput(f"{path}: there is no folder {folder}")
    if os.path.isdir(path):
        raise BadInput(f"{path} is a folder: name a file in it")
    if os.path.exists(path) and not os.path.isfile(path):
        raise BadInput(f"{path} is no file, and is not written over")
    if os.path.exists(path) and not force:
        raise BadInput(f"{path} is there already: --force writes over it")
    if not os.access(folder, os.W_OK):
        raise BadInput(f"{path}: nothing may be written to {folder}")


def known_target(word: str, store: Store, probed: Iterable[str]) -> str:
    """The target as it stands on the list, however it was typed, or BadInput with what is close."""
    known = {*probed, *_listed(store)}
    if word in known:
        return word
    try:
        meant = targets.parse(word)[1:]
    except targets.TargetError as error:
        raise BadInput(f"{word}: {error}") from error
    for text in sorted(known):
        with contextlib.suppress(targets.TargetError):
            if targets.parse(text)[1:] == meant:
                return text
    close = difflib.get_close_matches(word.lower(), sorted(known), 3, 0.5)
    hint = f" (did you mean {' or '.join(close)}?)" if close else ""
    raise BadInput(f"{word} is on no list, and nothing is known of it{hint}")


def _listed(store: Store) -> set[str]:
    """What is on a list now, by the page's word and by the agents': it need not have results."""
    newest: dict[str, str] = {}
    for change in store.watch_history(limit=1000):
        newest.setdefault(change.scope, change.text or "")
    listed = {word for text in newest.values() for word in text.split()}
    for record in store.agents():
        of_agent = record.facts.get("list")
        told = of_agent.get("targets") if isinstance(of_agent, dict) else None
        listed.update(text for text in told or () if isinstance(text, str))
    return listed


def format_of(path: str) -> str:
    """By the file's ending; a name without one, and standard output, take NDJSON."""
    ending = os.path.splitext(path)[1][1:].lower()
    if ending and ending not in FORMATS:
        raise BadInput(f"{path}: no format ends in .{ending}; --format is {', '.join(FORMATS)}")
    return ending or "ndjson"


def moment_ms(text: str, now_ms: int) -> int:
    """`90m`, `24h`, `7d`, `2w` ago; a date; a time in UTC."""
    found = re.fullmatch(r"(\d{1,6})([mhdw])", text)
    if found:
        return now_ms - int(found[1]) * _UNITS_MS[found[2]]
    day = text if re.fullmatch(r"\d{4}-\d\d-\d\d", text) else None
    try:
        return wire.from_rfc3339(f"{day}T00:00:00Z" if day else text)
    except wire.WireError as error:
        raise BadInput(
            f"{text!r:.40} is no time: 24h, 7d, 2026-01-31 or 2026-01-31T18:00:00Z"
        ) from error
