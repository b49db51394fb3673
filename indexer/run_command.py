"""`swarming-indexer run`: a store that answers, an indexer over it, the page in front of it."""

import argparse
import contextlib
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from agent import certificate, log_lines
from agent.connection import is_bare, unknown_words
from agent.notify import Notifier
from indexer import config
from indexer.flags import COMMANDS
from indexer.page import Page, bind
from indexer.store import Store, StoreDown
from indexer.stores import open_store
from indexer.swarming_indexer import Indexer, stop_on_signals
from indexer.typed import BadInput

_STORE_RETRY_S = 2.0
_DOUBT_S = 2.0  # a name server that is slow to say no must not hold the indexer up
_DAY_S = 86_400
_SOON_MS = 60 * _DAY_S * 1000

T = TypeVar("T")

log = logging.getLogger("swarming.indexer")


def run(flags: argparse.Namespace) -> int:
    """0 after a stop that was asked for."""
    settings = config.from_flags(flags)
    log_lines.begin(settings.log_level, "%(asctime)s %(levelname)s %(message)s")
    asking = threading.Thread(
        target=doubt, args=([broker.host for broker in settings.brokers],), daemon=True
    )
    asking.start()
    asking.join(_DOUBT_S)
    threading.Thread(target=_watch_dates, args=(settings,), daemon=True).start()
    sock = bind(settings.listen) if settings.listen is not None else None
    if settings.store == config.default_store():
        with contextlib.suppress(OSError):  # opening the store will say why
            os.makedirs(os.path.dirname(settings.store.partition(":")[2]), exist_ok=True)
    store, indexer = patiently(lambda: begun(settings))
    log.info("the store is %s", settings.store)
    page = None
    if sock is not None:
        from indexer import web

        try:
            page = Page(web.app(store, indexer.desk), sock, settings)
        except ValueError as error:
            raise BadInput(str(error)) from error
        page.start()
        scheme = "https" if settings.page_cert else "http"
        print(f"the page is at {scheme}://{settings.listen}/", flush=True)
    stop_on_signals(indexer)
    code = indexer.run()
    if page is not None:
        page.stop()
    store.close()
    return code


def doubt(hosts: Sequence[str]) -> None:
    for host in unknown_words(hosts):
        log.warning(
            "%s: no such host is found; if it was meant as a command, there are: %s",
            host,
            " ".join(COMMANDS),
        )


def is_no_host(word: str) -> bool:
    """A bare word of which a name server says, soon, that there is no such host. One that does
    not answer says nothing."""
    answers: list[int] = []

    def ask() -> None:
        try:
            socket.getaddrinfo(word, None)
        except socket.gaierror as error:
            answers.append(error.errno or 0)
        except UnicodeError:
            answers.append(socket.EAI_NONAME)

    if not is_bare(word):
        return False
    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(_DOUBT_S)
    return bool(answers) and answers[0] in (socket.EAI_NONAME, socket.EAI_NODATA)


def _watch_dates(settings: config.Config) -> None:
    """Once a day: an end that nobody has seen coming would lock out every box at once."""
    paths = (settings.credentials.ca, settings.credentials.cert, settings.page_cert)
    while True:
        for line in ending([path for path in paths if path], time.time_ns() // 1_000_000):
            log.warning("%s", line)
        time.sleep(_DAY_S)


def ending(paths: Sequence[str], now_ms: int) -> list[str]:
    """A line for each certificate that has ended, or does soon."""
    lines = []
    for path in paths:
        try:
            with open(path, encoding="ascii", errors="replace") as file:
                ends_ms = certificate.ends_ms(file.read())
        except OSError:
            continue  # whoever uses it says so
        if ends_ms is not None and ends_ms - now_ms < _SOON_MS:
            lines.append(f"the certificate {path} ends on {certificate.day(ends_ms)}: renew it")
    return lines


def begun(settings: config.Config) -> tuple[Store, Indexer]:
    """The store, and an indexer that knows what is in it. StoreDown, StoreRefused."""
    store = open_store(settings.store)
    try:
        return store, Indexer(settings, store)
    except BaseException:
        store.close()
        raise


def patiently(work: Callable[[], T]) -> T:
    """Its answer; a store that is down is waited for, which is no reason to start anew."""
    told = ""
    supervisor = Notifier()
    while True:
        try:
            return work()
        except StoreDown as error:
            if str(error) != told:
                told = str(error)
                log.error("the store takes nothing: %s; waiting for it", told)
                supervisor.ready()
                supervisor.status(f"waiting for the store: {told}")
            supervisor.alive()
            time.sleep(_STORE_RETRY_S)
