"""Templates, and how values look in them: times, links, milliseconds, states as words."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, select_autoescape
from markupsafe import Markup, escape
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from agent import wire
from indexer import references
from indexer.verdict.answers import ISP, ME, PARTIES, PATH, SERVICE
from indexer.verdict.sentences import ms
from indexer.web import charts, words
from indexer.web.auth import User
from indexer.web.house import house_of
from indexer.web.moment import is_simulated

_UTC_TIME = re.compile(r"(?:(\d\d [A-Z][a-z]{2}) )?(\d\d:\d\d) UTC")
# Each state has a sign of its own besides its colour.
SIGNS = {"fine": "●", "slow": "▲", "lossy": "◆", "down": "✕", "no data": "○", "absent": "–"}

_PARTIES = {ME: "you", ISP: "the provider", PATH: "the path", SERVICE: "the service"}


def page(request: Request, template: str, status: int = 200, **shown: Any) -> Response:
    """The template as an answer, with what every page shows."""
    desk, door = house_of(request).desk, request.app.state.door
    changes = request.user is not None and request.user.changes
    common = {
        "user": request.user,
        "desk": desk,
        "health": desk.healthz(),
        "path": request.url.path,
        "invites": door is not None and door.has_authority(),
        "joining": door.waiting() if door is not None and changes else None,
        "ranges": charts.RANGES.values(),
    }
    return HTMLResponse(_TEMPLATES.get_template(template).render(common | shown), status)


def moment_of(time_ms: int, form: str = "time") -> Markup:
    """A <time> that the browser turns into the viewer's own zone."""
    at = datetime.fromtimestamp(time_ms / 1000, UTC)
    shown = at.strftime("%Y-%m-%d" if form == "day" else "%Y-%m-%d %H:%M UTC")
    return Markup('<time datetime="{}" data-form="{}">{}</time>').format(
        wire.rfc3339(time_ms), form, shown
    )


def timed(text: str, now_ms: int) -> Markup:
    """A sentence whose "14:02 UTC" become <time>, too."""
    now = datetime.fromtimestamp(now_ms / 1000, UTC)

    def as_time(found: re.Match[str]) -> str:
        at = _moment(found, now)
        if at is None:
            return found.group()
        form = "time" if found.group(1) is None else "moment"
        return f'<time datetime="{at:%Y-%m-%dT%H:%M:%SZ}" data-form="{form}">{found.group()}</time>'

    return Markup(_UTC_TIME.sub(as_time, str(escape(text))))  # noqa: S704


def opening(text: str) -> str:
    """The first sentence, for a heading."""
    return text.partition(". ")[0].rstrip(".") + "."


def rest(text: str) -> str:
    """What stands behind the first sentence."""
    return text.partition(". ")[2]


def parties(struck: frozenset[str]) -> str:
    """ "you, the provider" """
    return ", ".join(_PARTIES[party] for party in PARTIES if party in struck)


def _moment(found: re.Match[str], now: datetime) -> datetime | None:
    """A sentence leaves out what is today's; it is never of the future."""
    day, clock = found.groups()
    try:
        if day is None:
            at = datetime.strptime(f"{now:%Y-%m-%d} {clock}", "%Y-%m-%d %H:%M")
            back = timedelta(days=1)
        else:
            at = datetime.strptime(f"{now.year} {day} {clock}", "%Y %d %b %H:%M")
            back = timedelta(days=365)
    except ValueError:
        return None
    at = at.replace(tzinfo=UTC)
    return at - back if at > now + timedelta(minutes=2) else at


def state(word: str) -> Markup:
    """The state as a sign and a word."""
    css = word.replace(" ", "-")
    return Markup('<span class="state {}"><i aria-hidden="true">{}</i> {}</span>').format(
        css, SIGNS.get(word, "○"), word
    )


def target_url(target: str, agent: str | None = None, span: str | None = None) -> str:
    more = f"&agent={quote(agent)}" if agent else ""
    return f"/target?target={quote(target, safe='')}{more}{f'&range={span}' if span else ''}"


def seen(record: Any, user: User) -> Markup:
    """When it was last heard of: exactly for operators, by the day for viewers."""
    if user.changes:
        return moment_of(record.seen_ms, "ago")
    return Markup('<time datetime="{0}">{0}</time>').format(words.seen_of(record, False))


def _environment() -> Environment:
    made = Environment(
        loader=PackageLoader("indexer.web"),
        autoescape=select_autoescape(),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"ms": ms, "moment": moment_of, "timed": timed, "state": state}
    made.filters |= {"opening": opening, "rest": rest, "parties": parties}
    made.filters |= {"link": words.link_of, "quoted": lambda text: quote(text, safe="")}
    made.globals |= {
        "target_url": target_url,
        "label": references.label,
        "references": references,
        "whose": words.whose,
        "is_simulated": is_simulated,
        "seen": seen,
        "absence_of": words.absence_of,
        "tags_of": words.tags_of,
    }
    return made


_TEMPLATES = _environment()
