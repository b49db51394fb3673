"""What was usual before the stretch that a verdict looks at, learnt from the store.

Without it a trouble that outlasts the verdict's horizon would become the usual.
"""

from indexer import verdict
from indexer.store import Store
from indexer.verdict import Baselines

BACK_MS = 6 * 3_600_000  # before the horizon, at the start of a process
STEP_MS = 600_000  # then it goes on in steps of so much


class Learnt:
    """Baselines up to the horizon, which move on with the time. For one thread."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._baselines: Baselines | None = None
        self._upto_ms = 0

    def before(self, now_ms: int) -> Baselines:
        """What was usual until HORIZON_MS ago. The first call reads hours. Raises StoreDown."""
        until_ms = now_ms - verdict.HORIZON_MS
        since_ms = max(self._upto_ms, until_ms - BACK_MS)
        if self._baselines is None or until_ms - since_ms >= STEP_MS:
            results = self._store.results(since_ms, until_ms)
            self._baselines = verdict.learn(results, self._baselines)
            self._upto_ms = until_ms
        return self._baselines
