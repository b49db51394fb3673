"""What ``doctor`` says of one broker. Pure.

Rights are proved by a message that came back, never by what a broker acknowledged: many acknowledge
what they drop.
"""

from collections.abc import Iterator, Set
from typing import Any

from agent import wire
from agent.doctor.broker import Seen
from agent.doctor.words import Finding

_INVITED = "ask your operator to invite this box again"
# The first part that is contained in what TLS said decides.
_TLS = (
    ("has expired", "its operator must renew it, if this box's clock is right (see clock)"),
    ("not yet valid", "this box's clock is probably wrong (see clock)"),
    ("self-signed", "its authority is not ours: --ca must name the swarm's, or join again"),
    ("local issuer", "its authority is not ours: --ca must name the swarm's, or join again"),
    ("hostname mismatch", "call the broker by the name that its certificate has"),
    ("address mismatch", "call the broker by the name that its certificate has"),
    ("CERTIFICATE_REQUIRED", "it wants to see a certificate: join the swarm, or --cert and --key"),
    ("CERTIFICATE_EXPIRED", f"this box's own certificate has ended: {_INVITED}"),
    ("CERTIFICATE_REVOKED", "this box's own certificate was revoked: ask your operator why"),
    ("UNKNOWN_CA", f"it does not know who issued this box's certificate: {_INVITED}"),
    ("BAD_CERTIFICATE", f"it does not accept this box's certificate: {_INVITED}"),
    ("ALERT_", f"it does not accept this box's certificate: {_INVITED}"),
    ("WRONG_VERSION", "it does not speak TLS on this port: is it 8883? else mqtt://"),
    ("record layer", "it does not speak TLS on this port: is it 8883? else mqtt://"),
)
_STAGES = {
    "resolve": "see resolver: is the name right, is the network up?",
    "connect": "is the network up, is the port right, is there a firewall?",
    "tls": "is it a broker with TLS? is the network up?",
    "closed": "it may want TLS (mqtts://), or a certificate",
    "connack": "is it an MQTT broker? it may not let this box in: ask its operator",
}


def of_broker(seen: Seen, name: str | None, own: Set[str], runs: bool) -> Iterator[Finding]:
    """Some lines: the way there, rights, indexers, the name. ``own``: epochs and beginnings by
    which this box knows itself; ``runs``: an agent does, here."""
    if seen.refused is not None:
        yield Finding("broker", "bad", f"{seen.broker}: {seen.refused}", advice_for(seen))
        return
    tls = "TLS, " if seen.broker.tls else "no TLS, "
    said = f"{seen.broker} lets us in, {tls}MQTT {seen.version}, {seen.took_ms:.0f} ms"
    if seen.dates or not seen.broker.tls:
        yield Finding("broker", "ok", said)
    else:
        said += "; the dates of its certificate were not judged"
        yield Finding("broker", "warn", said, "see clock")
    yield _rights(seen, name or "this box")
    yield _indexer(seen)
    if name is not None:
        yield _name(seen, name, own, runs)


def advice_for(seen: Seen) -> str:
    """What to do where a broker was not reached, or did not let us in."""
    said = seen.refused or ""
    if "nobody listens" in said:
        return "is the address right, and the port? does the broker run?"
    if "certificate files" in said:
        return "look at --ca, --cert and --key, or join again"
    if seen.stage == "tls" or "TLS" in said:
        for part, advice in _TLS:
            if part.lower() in said.lower():
                return advice
    if seen.stage == "closed" and seen.broker.tls:
        return f"it may not accept this box's certificate: {_INVITED}"
    return _STAGES.get(seen.stage, "ask its operator")


def _rights(seen: Seen, name: str) -> Finding:
    """By the round trip; and reading, as far as something was there to be read."""
    check = wire.check_topic(name)
    ask = f"ask its operator: the access list must let {name} "
    if seen.back_ms is None:
        if check in seen.denied:
            return Finding("rights", "bad", f"may not read {check}", f"{ask}read it")
        why = "it refuses" if (seen.acknowledged or 0) >= 0x80 else "it acknowledges, and drops,"
        if seen.acknowledged is None:
            why = "it does not even acknowledge"
        said = f"{why} what this box publishes" + (f"; {seen.ended}" if seen.ended else "")
        return Finding("rights", "bad", said, f"{ask}write ping/{name} and ping/{name}/#")
    said = f"what this box publishes arrives, {seen.back_ms:.0f} ms there and back"
    if seen.denied:
        topics = " ".join(seen.denied)
        vital = {wire.WATCH, wire.ack_topic(name)} & set(seen.denied)
        state = "bad" if vital else "warn"
        return Finding("rights", state, f"{said}; may not read {topics}", f"{ask}read them")
    read = [topic for topic in (wire.watch_topic(name), wire.WATCH) if topic in seen.read]
    listed = f"{read[0]} was read" if read else "nobody has put a list there yet"
    return Finding("rights", "ok", f"{said}; {listed}")


def _indexer(seen: Seen) -> Finding:
    online = [name for name, is_online in seen.indexers if is_online]
    if online:
        return Finding("indexer", "ok", f"{' '.join(online)} online")
    if "indexer/+" in seen.denied:
        return Finding("indexer", "unknown", "may not read who is online")
    waits = "results wait in the journal until one is"
    if seen.indexers:
        gone = " ".join(name for name, _ in seen.indexers)
        return Finding("indexer", "warn", f"{gone} not online: {waits}", "ask its operator")
    return Finding("indexer", "warn", f"none has ever been online: {waits}", "ask its operator")


def _name(seen: Seen, name: str, own: Set[str], runs: bool) -> Finding:
    about: dict[str, Any] = seen.about or {}
    if about.get("here") is not True:
        return Finding("name", "ok", f"{name} is {'known' if about else 'free'} there")
    if {str(about.get("epoch")), str(about.get("since"))} & own:
        return Finding("name", "ok", f"{name} is this box")
    other = "give one of the two another name, or another certificate"
    if runs:
        return Finding("name", "bad", f"another agent is named {name}, too", other)
    said = f"an agent named {name} is there, and none runs here"
    return Finding("name", "warn", said, f"if it is not this box before a power cut: {other}")
