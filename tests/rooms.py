"""A folder with everything that a source may meet, and a finder that may read some of it."""

import os
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.pictures import corners, encoded

from kontext_edit.errors import NoSuchTask, PictureRefused
from kontext_edit.images.local import Folders, read_file
from kontext_edit.images.sources import Finder, Recall, Recalled
from kontext_edit.store.disk import Disk
from kontext_edit.task import LOCAL

PNG = encoded(corners())
SECRET = b"-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAA\n"


class Gallery:
    """Earlier results for the finder: one task with two pictures."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    async def __call__(self, task_id: str | None, number: int, owner: str) -> Recalled:
        assert owner == LOCAL
        if task_id not in {None, "4f2a"}:
            raise NoSuchTask(f"nobody knows the task {task_id}")
        if number > 2:
            raise PictureRefused(f"the task has 2 pictures, not {number}")
        path = self.folder / f"result {number}.png"
        return Recalled(read_file(path), "4f2a", number, path)


def furnished(tmp_path: Path) -> Path:
    """A folder with everything that a source may meet; only `pictures` and `work` are allowed."""
    for name in ("pictures", "work", "private", "results"):
        (tmp_path / name).mkdir()
    pictures = tmp_path / "pictures"
    (pictures / "x.png").write_bytes(PNG)
    (pictures / "a b#1?.png").write_bytes(PNG)
    (pictures / "Screenshot 3.04\u202fPM.png").write_bytes(PNG)
    (pictures / "empty.png").touch()
    (pictures / "folder.png").mkdir()
    (pictures / "loop.png").symlink_to("loop.png")
    (tmp_path / "private" / "photo.png").write_bytes(SECRET)
    (pictures / "link.png").symlink_to(tmp_path / "private" / "photo.png")
    (pictures / "sub").symlink_to(tmp_path / "private")
    (pictures / "inner.png").symlink_to(pictures / "x.png")
    (tmp_path / "results" / "result 1.png").write_bytes(PNG)
    os.mkfifo(pictures / "pipe.png")
    with (pictures / "huge.png").open("wb") as file:
        file.truncate(50_000_001)
    return tmp_path


def finder_in(room: Path) -> Finder:
    """A finder for such a folder."""
    allowed = [room / "work", room / "pictures"]
    return local_finder(allowed, room / "work", Gallery(room / "results"))


def local_finder(
    allowed: Sequence[Path], folder: Path, recall: Recall, uploads: Path | None = None
) -> Finder:
    """A finder for a person on this machine; without a folder of uploads nothing was uploaded."""
    store = Disk(folder / "none", uploads or folder / "none")
    return Finder(local=Folders(allowed, folder), recall=recall, uploads=store)


async def refusal(finder: Finder, source: str) -> str:
    """The text of the refusal that a source meets."""
    with pytest.raises(PictureRefused) as caught:
        await finder.find(source, LOCAL)
    return f"{caught.value.message} | {caught.value.hint}"


@contextmanager
def powerless() -> Generator[None]:
    """Run as nobody where the tests run as root, to whom nothing is denied."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)
