"""What the house says on the terminal: one line a result, one a list. Pure."""

from typing import Any

from agent import wire


def line(result: wire.Result) -> str:
    """One result for a person."""
    body = result.body
    name = f"{result.agent}  {body.get('target', '')}"
    if body["kind"] == "lost":
        return f"{result.agent}  {body.get('count')} results were dropped by a full journal"
    error = body.get("error")
    why = wire.ERRORS.get(error, str(error)) if error else ""
    if body["kind"] == "http":
        total = (body.get("phases_ms") or {}).get("total")
        measured = "http" if total is None else f"http  {total:.0f} ms  {body.get('status') or ''}"
    elif body["kind"] == "ladder":
        router, provider = _median(body.get("gateway")), _median(body.get("first_hop"))
        measured = f"router {router}, provider {provider}"
    else:
        measured = _median(body)
        if why and measured in ("-", "no reply"):
            measured = ""  # the error says it better
    return "  ".join(part.strip() for part in (name, measured, why) if part)


def _median(part: dict[str, Any] | None) -> str:
    rtts = sorted(rtt for rtt in (part or {}).get("rtts_ms") or [] if rtt is not None)
    if not part or not part.get("sent"):
        return "-"
    if not rtts:
        return "no reply"
    lost = part["sent"] - part.get("received", 0)
    median_ms = rtts[len(rtts) // 2]
    said = f"{median_ms:.1f} ms" if median_ms >= 0.1 else "<0.1 ms"
    return said + (f" ({lost} of {part['sent']} lost)" if lost else "")


def listed(agent: str | None, text: str | None) -> str:
    """Which list is in force now, for a person; agent None: for all that have none of their own."""
    words = " ".join((text or "").split()) or "nothing"
    if agent is None:
        return f"Watching: {words}"
    if text is None:
        return f"{agent} has no list of its own any more: it watches what all do"
    return f"{agent} has a list of its own, which goes first: it watches {words}"
