"""Earlier results as sources of new edits: the journal knows them, the store has their files."""

from kontext_edit.errors import PictureRefused
from kontext_edit.images.sources import Recall, Recalled
from kontext_edit.journal.book import Journal
from kontext_edit.store.place import Store


def recall_from(journal: Journal, store: Store) -> Recall:
    """How the sources `last`, `task:<id>` and `task:<id>#2` find earlier results of an owner."""

    async def recall(task_id: str | None, number: int, owner: str) -> Recalled | None:
        task = await (journal.last(owner) if task_id is None else journal.get(task_id, owner))
        if task is None:
            return None
        if not 1 <= number <= len(task.pictures):
            raise PictureRefused(
                f"The task {task.handle} has {len(task.pictures)} pictures, so there is no #{number}.",
                "" if task.settled else "Call get_task to see how far it is.",
            )
        picture = task.pictures[number - 1]
        return Recalled(await store.picture(picture), task.handle, number, picture.path)

    return recall
