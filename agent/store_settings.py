"""Small things worth remembering over a restart, as JSON by name; written with the next commit."""

import json
from typing import Any


class Settings:
    """A copy of the settings in memory, and which of them are not on the disk yet."""

    def __init__(self, stored: dict[str, str]) -> None:
        self._values = dict(stored)
        self._unsaved: set[str] = set()

    def get(self, key: str, default: Any = None) -> Any:
        """The value, or the default; what cannot be read counts as absent."""
        try:
            return json.loads(self._values[key])
        except (KeyError, ValueError):
            return default

    def put(self, key: str, value: Any) -> bool:
        """Remember it. Says whether that is news."""
        text = json.dumps(value, separators=(",", ":"))
        if self._values.get(key) == text:
            return False
        self._values[key] = text
        self._unsaved.add(key)
        return True

    def has_unsaved(self) -> bool:
        return bool(self._unsaved)

    def unsaved(self) -> dict[str, str]:
        return {key: self._values[key] for key in self._unsaved}

    def saved(self, keys: dict[str, str]) -> None:
        """These are on the disk now, unless they changed since."""
        self._unsaved -= {key for key, text in keys.items() if self._values[key] == text}

    def adopt(self, stored: dict[str, str]) -> None:
        """A file came (back): what it says holds, except for what is news here."""
        self._values = stored | self.unsaved()

    def none_saved(self) -> None:
        """What they were saved in is gone."""
        self._unsaved = set(self._values)
