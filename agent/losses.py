"""The loss record: how many results left unconfirmed, and from when to when. Pure."""

from typing import Any, NamedTuple

from agent import wire


class Loss(NamedTuple):
    """What eviction removed since the last loss was told."""

    results: int
    from_ms: int
    to_ms: int


NOTHING = Loss(0, 0, 0)


def merged(one: Loss, other: Loss) -> Loss:
    """Both together."""
    if not one.results or not other.results:
        return one if one.results else other
    return Loss(
        one.results + other.results,
        min(one.from_ms, other.from_ms),
        max(one.to_ms, other.to_ms),
    )


def as_body(loss: Loss) -> dict[str, Any]:
    """The result that tells it."""
    return {
        "kind": "lost",
        "target": "lost",
        "ok": False,
        "from": wire.rfc3339(loss.from_ms),
        "to": wire.rfc3339(loss.to_ms),
        "count": loss.results,
    }


def of_row(body: Any, time_ms: int) -> Loss:
    """What is lost with this row: itself, or all that it told of."""
    if not isinstance(body, dict) or body.get("kind") != "lost":
        return Loss(1, time_ms, time_ms)
    try:
        from_ms, to_ms = wire.from_rfc3339(body.get("from")), wire.from_rfc3339(body.get("to"))
        return Loss(int(body["count"]), from_ms, to_ms)
    except (KeyError, TypeError, ValueError):
        return Loss(1, time_ms, time_ms)
