"""The words of a verdict: plain sentences with numbers and since when. Nothing here decides."""

from datetime import UTC, datetime

from agent.wire import ERRORS
from indexer.verdict.answers import BAD, CHECKING, CONFLICT, DOWN, LOSSY, SLOW, UNKNOWN
from indexer.verdict.groups import Member
from indexer.verdict.picture import View
from indexer.verdict.series import Mark

_IS = {DOWN: "does not answer", LOSSY: "loses packets", SLOW: "is slow"}


def ms(value: float | None) -> str:
    """ "180 ms", "2.6 ms", "<0.1 ms", "1.4 s"."""
    if value is None:
        return "no answer"
    if value >= 1000:
        return f"{value / 1000:.1f} s"
    if value < 0.1:
        return "<0.1 ms"
    return f"{value:.0f} ms" if value >= 10 else f"{value:.1f} ms"


def count(number: int, noun: str) -> str:
    """ "1 agent", "3 agents"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def since(since_ms: int | None, now_ms: int) -> str:
    """ "since 14:02 UTC (12 min)"; with the day when that was another one."""
    if since_ms is None:
        return ""
    moment, now = (datetime.fromtimestamp(t / 1000, UTC) for t in (since_ms, now_ms))
    form = "%H:%M" if moment.date() == now.date() else "%d %b %H:%M"
    return f"since {moment:{form}} UTC ({length(now_ms - since_ms)})"


def why(view: View) -> str:
    """One short phrase: what was measured, beside what is usual."""
    series, last = view.series, view.series.last
    probe = last.probe
    if view.state == DOWN:
        words = ERRORS.get(probe.error or "timeout", probe.error or "no reply")
        words = words if series.answered else f"{words}; it has not answered here yet"
    elif view.state == LOSSY:
        words = _loss(series.marks[-3:])
    else:
        words = ms(probe.ms)
        if last.usual_ms is not None and view.state in BAD:
            words += f", usually {ms(last.usual_ms)}"
    return f"{words}, over IPv{view.family} only" if view.family else words


def loss_pct(marks: list[Mark]) -> float | None:
    """The share of the echoes of these probes that was lost."""
    sent = sum(mark.probe.sent for mark in marks)
    return round(100 * sum(mark.probe.lost for mark in marks) / sent, 1) if sent else None


def finding(view: View, now_ms: int, whom: str | None = None) -> str:
    """What is wrong with the target, for whom, and since when; the numbers are this agent's."""
    if view.state not in BAD:
        return f"{view.target} is fine from {view.agent}: {why(view)}."
    when = since(view.onset_ms, now_ms)
    if whom is None:
        return f"{view.target} {_IS[view.state]} from {view.agent} {when}: {why(view)}."
    return f"{view.target} {_IS[view.state]} for {whom} {when}. From {view.agent}: {why(view)}."


def blame(word: str, member: Member, target: str, scope: str | None = None) -> str:
    """Whose it is, in one sentence."""
    isp = f"the provider ({member.isp_name})" if member.isp_name else "the provider"
    sentences = {
        "me": f"It is {member.agent}'s own side: the box, its router, or the home network.",
        "isp": f"It is {isp}.",
        "path": f"It is the path between {isp} and {target}: both ends are fine for others.",
        "service": f"It is the service: {target} itself, not you.",
        "access": f"It is {member.agent}'s access: its own side or {isp}, not known which.",
        "beyond": f"It lies beyond {isp}: the path to {target}, or the service.",
        UNKNOWN: "Whose it is cannot be told yet.",
        CONFLICT: "The findings contradict each other: there may be two troubles at once.",
        CHECKING: "Whose it is is being checked: others are looking now.",
    }
    if word == "service" and scope:
        return f"It is the service: one site of {target}, not all of it, and not you."
    return sentences.get(word, f"What is left: {word}.")


def _loss(marks: list[Mark]) -> str:
    """The echoes that the state was read from: of the last probe, if half of them are lost."""
    last = marks[-1].probe
    if last.sent and 2 * last.lost >= last.sent:
        marks = marks[-1:]
    sent, lost = sum(m.probe.sent for m in marks), sum(m.probe.lost for m in marks)
    if not sent:
        retried = sum(mark.probe.retried for mark in marks)
        return f"{retried} of {len(marks)} requests had to send packets again"
    return f"{lost} of {sent} echoes lost"


def length(length_ms: int) -> str:
    """ "12 min", "5 h", "3 days"."""
    minutes = max(0, round(length_ms / 60_000))
    if minutes < 1:
        return "just now"
    if minutes < 120:
        return f"{minutes} min"
    return f"{round(minutes / 60)} h" if minutes < 48 * 60 else f"{round(minutes / 1440)} days"
