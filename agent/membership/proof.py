"""Proves a .swarm file before it is put in place, by a TLS handshake of the box with itself.

It runs in memory. One side shows the certificate and proves its key; the other asks whether the
authority in the file vouches for that certificate as a client's. That is what a broker will do.
"""

import ssl

from agent.dial import NO_CHECK_TIME, authorities

_TURNS = 10  # of a handshake; four are enough


class ProofError(Exception):
    """A broker would refuse this file; one line says why."""


def prove(path: str) -> None:
    """Nothing, or ProofError. Dates are not judged: the box's clock may be wrong."""
    try:
        _shake_hands(_side(path, ssl.PROTOCOL_TLS_SERVER), _side(path, ssl.PROTOCOL_TLS_CLIENT))
    except ssl.SSLCertVerificationError as error:
        reason = f"its authority does not vouch for its certificate: {error.verify_message}"
        raise ProofError(reason) from error
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        why = getattr(error, "reason", None) or error
        raise ProofError(f"its certificate and key cannot be used together: {why}") from error


def _side(path: str, protocol: int) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.load_cert_chain(path, path, password="")
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if protocol == ssl.PROTOCOL_TLS_SERVER:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=authorities(path))
        context.verify_flags |= NO_CHECK_TIME
    return context


def _shake_hands(broker: ssl.SSLContext, box: ssl.SSLContext) -> None:
    to_broker, to_box = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = [box.wrap_bio(to_box, to_broker), broker.wrap_bio(to_broker, to_box, server_side=True)]
    for _ in range(_TURNS):
        done = [_step(side) for side in sides]
        if all(done):
            return
    raise ValueError("the handshake does not end")


def _step(side: ssl.SSLObject) -> bool:
    try:
        side.do_handshake()
    except ssl.SSLWantReadError:
        return False
    return True
