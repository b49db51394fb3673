"""Many documents into the engine, each with an answer of its own: the failure contract.

    item 201 stored · 409 known · 400 bad, with the engine's reason · 429, 5xx again
    a block (read-only, disk full), no permission, a closed index: StoreDown at once, and so is
    a 400 that is not plainly about the document and that all items of a request share
    the request: 413 in halves · 429, 5xx, no answer: again

Again means after a random part of a pause that doubles (full jitter), in smaller pieces; what an
answer that was lost had done already comes back as known. PATIENCE_S without an end: StoreDown, and
the caller may simply do it all once more.
"""

import random
import threading
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from indexer.elastic.engine import Engine, Refusal, Strange
from indexer.store import StoreDown

PATIENCE_S = 30.0
TIMEOUT_S = 20.0
FIRST_S, LAST_S = 0.1, 5.0
MOST_BYTES, LEAST_BYTES = 8 << 20, 32 << 10
MOST_ROWS, LEAST_ROWS = 5000, 25
_PATH = "/_bulk?filter_path=errors,items.*.status,items.*.error.type,items.*.error.reason"
_NOT_THE_DOCUMENT = ("index_closed_exception", "validation_exception")  # 400s of the cluster
_THE_DOCUMENT = ("document_parsing_exception", "mapper_parsing_exception",
                 "strict_dynamic_mapping_exception")  # fmt: skip


class Item(NamedTuple):
    """What became of one document: stored | known | bad | again; odd: bad, unless all are."""

    word: str
    reason: str = ""


def judge(status: int, kind: str, reason: str) -> Item:
    """Of one item of a bulk's answer. Raises StoreDown for what all others will meet as well."""
    if status < 300:
        return Item("stored")
    if status == 409:
        return Item("known")
    if kind == "cluster_block_exception" or status in (401, 403) or kind in _NOT_THE_DOCUMENT:
        raise StoreDown(f"{reason or kind} (HTTP {status})"[:400])
    if status == 429 or status >= 500:
        return Item("again", reason or kind)
    if status == 404:
        raise StoreDown(f"{reason or kind}: may indices be made by themselves?"[:400])
    return Item("bad" if kind in _THE_DOCUMENT else "odd", f"{kind}: {reason}"[:400])


class Bulk:
    """Remembers how much at once the engine takes. For all threads, one request at a time each."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._rng = random.Random()
        self._lock = threading.Lock()
        self._rows = MOST_ROWS
        self._bytes = self._most_bytes = MOST_BYTES

    def send(self, lines: Sequence[bytes]) -> list[Item]:
        """What became of each of the lines; none is `again`. Raises StoreDown."""
        items: list[Item | None] = [None] * len(lines)
        waiting = list(range(len(lines)))
        end_s = time.monotonic() + PATIENCE_S
        attempt, why = 0, ""
        while waiting:
            again, why = self._pass(lines, waiting, items)
            if again and time.monotonic() >= end_s:
                raise StoreDown(f"{len(again)} of {len(lines)} documents are not taken: {why}")
            if len(again) == len(waiting):
                attempt += 1
            if again:
                time.sleep(self._rng.uniform(0, min(LAST_S, FIRST_S * 2.0**attempt)))
            waiting = again
        return [item for item in items if item is not None]

    def _pass(
        self, lines: Sequence[bytes], waiting: list[int], items: list[Item | None]
    ) -> tuple[list[int], str]:
        """Every waiting line once; those that want it again, and why."""
        again: list[int] = []
        why = ""
        start = 0
        while start < len(waiting):
            part = self._part(lines, waiting, start)
            start += len(part)
            answers = self._request([lines[number] for number in part])
            for number, item in zip(part, answers, strict=True):
                if item.word == "again":
                    again.append(number)
                    why = item.reason
                else:
                    items[number] = item
            if again and why and len(again) >= len(part):
                # An engine that takes nothing is not asked for the rest now.
                return again + waiting[start:], why
        return again, why

    def _part(self, lines: Sequence[bytes], waiting: list[int], start: int) -> list[int]:
        """As many from here on as one request may hold, at least one."""
        part: list[int] = []
        size = 0
        for number in waiting[start : start + self._rows]:
            size += len(lines[number])
            if part and size > self._bytes:
                break
            part.append(number)
        return part

    def _request(self, lines: list[bytes]) -> list[Item]:
        body = b"".join(lines)
        try:
            found = self._engine.ask("POST", _PATH, body, timeout_s=TIMEOUT_S)
        except Refusal as error:
            return self._refused(error, lines, len(body))
        except StoreDown as error:
            self._smaller(len(lines), len(body))
            return [Item("again", str(error))] * len(lines)
        told = found.get("items")
        if not isinstance(told, list) or len(told) != len(lines):
            raise Strange("the answer to a bulk is none")
        answers = [judge(*_told(item)) for item in told]
        if all(item.word == "odd" for item in answers):
            raise StoreDown(answers[0].reason)
        answers = [Item("bad", item.reason) if item.word == "odd" else item for item in answers]
        if any(item.word == "again" for item in answers):
            self._smaller(len(lines), len(body))
        else:
            self._larger()
        return answers

    def _refused(self, error: Refusal, lines: list[bytes], size: int) -> list[Item]:
        """The request as a whole was not taken."""
        if error.status == 413:
            if len(lines) == 1:
                return [Item("bad", f"the engine takes no document of {size} bytes")]
            with self._lock:
                self._bytes = self._most_bytes = min(self._most_bytes, size) // 2
            return [Item("again", "")] * len(lines)
        if error.blocked or error.status < 429:
            raise error
        self._smaller(len(lines), size)
        return [Item("again", str(error))] * len(lines)

    def _smaller(self, rows: int, size: int) -> None:
        with self._lock:
            self._rows = max(LEAST_ROWS, min(self._rows, rows) // 2)
            self._bytes = min(self._most_bytes, max(LEAST_BYTES, min(self._bytes, size) // 2))

    def _larger(self) -> None:
        with self._lock:
            self._rows = min(MOST_ROWS, self._rows + self._rows // 4 + 1)
            self._bytes = min(self._most_bytes, self._bytes + self._bytes // 4)


class Sending(threading.Thread):
    """Lines on their way from now on. A daemon: an engine that hangs holds no process up."""

    def __init__(self, bulk: Bulk, lines: Sequence[bytes]) -> None:
        super().__init__(name="bulk", daemon=True)
        self._bulk = bulk
        self._lines = lines
        self._items: list[Item] = []
        self._error: Exception | None = None
        self.start()

    def run(self) -> None:
        try:
            self._items = self._bulk.send(self._lines)
        except Exception as error:
            self._error = error

    def items(self) -> list[Item]:
        """What became of the lines, as Bulk.send says it or raises; once it has ended."""
        self.join()
        if self._error is not None:
            raise self._error
        return self._items


def _told(item: dict[str, Any]) -> tuple[int, str, str]:
    """Status, kind and reason of an item, whatever the action was."""
    (answer,) = item.values()
    error = answer.get("error") or {}
    return answer["status"], str(error.get("type") or ""), str(error.get("reason") or "")
