"""Pictures that the person gave through the App: files that are named by their upload's id."""

import re
from pathlib import Path

from kontext_edit.errors import PictureRefused
from kontext_edit.images.local import read_file

_ID = re.compile("[0-9a-f]{32}")


def is_upload_id(text: str) -> bool:
    """Whether `text` is an upload's id: 32 lower-case hexadecimal digits, and so a safe file name."""
    return _ID.fullmatch(text) is not None


def read_upload(folder: Path | None, upload_id: str) -> bytes:
    """The bytes of an upload.

    Args:
        folder: Where uploads are kept; None where there are none.
        upload_id: What was answered when the picture was given.

    Raises:
        PictureRefused: It is no id, or the upload is gone.
    """
    if not is_upload_id(upload_id):
        raise PictureRefused(
            "it names no upload: an id is 32 lower-case hexadecimal digits",
            "Use upload:<id> exactly as the App gave it.",
        )
    data = read_file(folder / upload_id) if folder is not None else None
    if data is None:
        raise PictureRefused(
            "the upload is gone",
            "Ask the person to drop, paste or pick the picture in the App again, or for its path.",
        )
    return data
