"""Pictures that are given as bytes, by the App or over HTTP: checked like any source, and kept."""

from dataclasses import dataclass
from typing import Any

from kontext_edit.errors import PictureRefused
from kontext_edit.images.prepare import in_turn, prepare
from kontext_edit.images.sources import Found
from kontext_edit.images.wording import shown
from kontext_edit.store.place import Store, upload_id_of

UPLOAD = "upload:"
"""What a source string begins with that means a picture which was given as bytes."""


@dataclass(frozen=True, slots=True)
class Upload:
    """A picture that was given. `width` and `height` are what the model will see of it."""

    source: str
    name: str
    width: int
    height: int
    bytes: int
    warnings: tuple[str, ...]

    @property
    def told(self) -> dict[str, Any]:
        """As its giver reads it."""
        return {
            "source": self.source,
            "name": self.name,
            "width": self.width,
            "height": self.height,
            "bytes": self.bytes,
            "warnings": list(self.warnings),
        }


class Inbox:
    """Takes uploads in."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def keep(self, owner: str, name: str, content: bytes) -> Upload:
        """Check a picture like any source, and keep its own bytes under the hash of them.

        Args:
            owner: whose it is.
            name: the file's name, for errors and warnings alone.
            content: the file.

        Raises:
            PictureRefused: it is no picture that can be edited, or it cannot be kept.
        """
        found = Found(name, content, None)
        prepared = await in_turn(prepare, found)
        upload_id = upload_id_of(content)
        try:
            await self._store.keep_upload(owner, upload_id, content)
        except PictureRefused as refused:
            raise PictureRefused(f"{shown(name)} {refused.message}", refused.hint) from refused
        width, height = prepared.width or 0, prepared.height or 0
        return Upload(UPLOAD + upload_id, name, width, height, len(content), prepared.warnings)
