"""What the verdict says, as plain values, and the same as JSON. Nothing here decides anything."""

from typing import Any, NamedTuple

from agent import wire

ME, ISP, PATH, SERVICE = "me", "isp", "path", "service"
PARTIES = (ME, ISP, PATH, SERVICE)
ALL = frozenset(PARTIES)

DOWN, LOSSY, SLOW, FINE, NO_DATA = "down", "lossy", "slow", "fine", "no data"
BAD = frozenset({DOWN, LOSSY, SLOW})
SEVERITY = {DOWN: 0, LOSSY: 1, SLOW: 2, NO_DATA: 3, FINE: 4}  # worst first

CHECKING = "checking"
UNKNOWN = "unknown"
CONFLICT = "conflict"

_NAMES = {
    frozenset({ME, ISP}): "access",
    frozenset({PATH, SERVICE}): "beyond",
    ALL: UNKNOWN,
    frozenset(): CONFLICT,
}


class Evidence(NamedTuple):
    """One finding: in words, in numbers, and whom it clears."""

    text: str
    strikes: frozenset[str]
    numbers: dict[str, Any]
    rule: str


class Answer(NamedTuple):
    """Whose fault it is that this target is bad for this agent (None: for the swarm)."""

    target: str
    agent: str | None
    state: str
    word: str
    parties: frozenset[str]
    sentence: str
    evidence: tuple[Evidence, ...] = ()
    since_ms: int | None = None
    missing: tuple[str, ...] = ()
    scope: str | None = None
    agents_bad: int = 0
    agents_fine: int = 0


class Pair(NamedTuple):
    """How one agent sees one target now."""

    agent: str
    target: str
    state: str
    since_ms: int | None
    ms: float | None
    usual_ms: float | None
    loss_pct: float | None
    last_ms: int
    error: str | None
    why: str


class Station(NamedTuple):
    """One of the four on the way: you, router, provider, service."""

    name: str
    label: str
    ms: float | None
    state: str
    text: str


class Headline(NamedTuple):
    """The page's first sentence and what stands behind it."""

    sentence: str
    word: str
    agent: str | None
    stations: tuple[Station, ...]
    pairs: tuple[Pair, ...] = ()
    answers: tuple[Answer, ...] = ()
    missing: tuple[str, ...] = ()


def name_of(parties: frozenset[str]) -> str:
    """The one word for what elimination left, or its members: "me or path"."""
    named = _NAMES.get(parties)
    return named or " or ".join(party for party in PARTIES if party in parties)


def as_json(answer: Answer) -> dict[str, Any]:
    """The answer for the API, the command line and ``verdict/<target>``."""
    return answer._asdict() | {
        "parties": [party for party in PARTIES if party in answer.parties],
        "evidence": [_evidence_json(evidence) for evidence in answer.evidence],
        "since": _time(answer.since_ms),
        "missing": list(answer.missing),
    }


def headline_json(headline: Headline) -> dict[str, Any]:
    """The headline for the API."""
    return headline._asdict() | {
        "stations": [station._asdict() for station in headline.stations],
        "pairs": [pair_json(pair) for pair in headline.pairs],
        "answers": [as_json(answer) for answer in headline.answers],
        "missing": list(headline.missing),
    }


def pair_json(pair: Pair) -> dict[str, Any]:
    """One cell of the overview for the API."""
    return pair._asdict() | {"since": _time(pair.since_ms), "last": _time(pair.last_ms)}


def text(answer: Answer) -> str:
    """For the command line: the sentence, evidence that it did not tell, and what is missing."""
    more = [one.text for one in answer.evidence if one.text not in answer.sentence]
    lines = [answer.sentence, *(f"  - {told}" for told in more)]
    if answer.missing:
        settled = answer.word == FINE or len(answer.parties) == 1
        what = "What it cannot know" if settled else "What is missing"
        lines.append(f"{what}: {'; '.join(answer.missing)}.")
    return "\n".join(lines)


def _evidence_json(evidence: Evidence) -> dict[str, Any]:
    strikes = [party for party in PARTIES if party in evidence.strikes]
    return evidence._asdict() | {"strikes": strikes}


def _time(time_ms: int | None) -> str | None:
    return None if time_ms is None else wire.rfc3339(time_ms)
