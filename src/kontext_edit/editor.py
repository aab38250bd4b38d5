"""The use case, from top to bottom: an instruction and pictures in, an edited picture on disk out.

An edit that was begun belongs to the editor, not to the call that began it: a caller that cancels,
times out or goes away ends its own waiting and nothing else.
"""

import asyncio
import logging
import uuid
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, TypeVar

from kontext_edit import endings
from kontext_edit.budget import refuse_beyond
from kontext_edit.caller import Caller
from kontext_edit.caretaker import Caretaker
from kontext_edit.clock import Clock
from kontext_edit.consent import ask_above, is_dear, price_of
from kontext_edit.errors import (
    FateUnknown,
    JournalUnavailable,
    KontextError,
    LinkRefused,
    NoSuchTask,
    PictureNotSaved,
    PictureRefused,
    SubmissionUnclear,
    TaskGone,
)
from kontext_edit.gallery import Gallery
from kontext_edit.images.prepare import Prepared, Studio, look_again
from kontext_edit.images.preview import Look, preview
from kontext_edit.journal.book import Journal
from kontext_edit.novita import Novita, RemoteStatus, Result
from kontext_edit.pricing import edit_price, usd
from kontext_edit.request import EditCall
from kontext_edit.settings import Settings
from kontext_edit.task import BATCH, Source, Status, Task, parent_of
from kontext_edit.waiting import Outcome, WaitingRoom, usual_seconds
from kontext_edit.watcher import Watcher

logger = logging.getLogger(__name__)

Answer = TypeVar("Answer")

_GENERATIONS = 20
_ATTACHED = "The same edit was asked for before: nothing new was billed. For a new take: force_new: true."

_PAUSES_BETWEEN_FETCHES = (0.5, 2.0, 6.0)
_REST_SECONDS = (30.0, 300.0)
_PAUSE_WITHOUT_JOURNAL = 1.0
_ARRIVAL_SECONDS = 3.0
"""An assistant that wants a new take thinks for longer; a client that just gave up asks again sooner."""
_CLOSING_SECONDS = 5.0


class Editor:
    """Carries edits through, and lets callers wait for them."""

    def __init__(  # noqa: PLR0913 - the parts of the house, joined in one place
        self,
        *,
        settings: Settings,
        journal: Journal,
        studio: Studio,
        novita: Novita,
        gallery: Gallery,
        clock: Clock,
    ) -> None:
        self._settings = settings
        self._journal = journal
        self._studio = studio
        self._novita = novita
        self._watcher = Watcher(novita, clock)
        self._gallery = gallery
        self._clock = clock
        self._caretaker = Caretaker(journal, settings.provider, clock, self._take_up)
        self._waiting = WaitingRoom(journal, self._caretaker, settings.provider, clock)
        self._unbreakable: set[asyncio.Future[Any]] = set()
        self._going_out: dict[asyncio.Task[None], Task] = {}

    def open(self) -> None:
        """Begin to look after what earlier processes left under way."""
        self._caretaker.begin_rounds()

    async def edit(self, call: EditCall, caller: Caller) -> Outcome:
        """Begin an edit and wait for it as long as the call says; returns how far it is by then.

        Raises:
            PictureRefused: a source cannot be used; nothing was sent.
            BudgetExceeded, ConsentMissing, FateUnknown, JournalUnavailable: it may not be bought; nothing
                was sent.
        """
        (outcome,) = await self._edit([call], None, caller)
        return outcome

    async def edit_all(self, calls: Sequence[EditCall], caller: Caller) -> tuple[str, list[Outcome]]:
        """Begin several edits of the same pictures together: one quote, one consent, one waiting.

        Returns:
            The name of the batch, and how far each edit is.

        Raises:
            The same as `edit`; then none was begun.
        """
        batch = f"{BATCH}{uuid.uuid4().hex[:16]}"
        return batch, await self._edit(calls, batch, caller)

    async def follow(self, handle: str, wait_seconds: float, caller: Caller) -> Outcome:
        """Wait for an edit that was begun by whomever and whenever, as long as the caller says.

        Raises:
            NoSuchTask: nobody here knows the id.
        """
        (outcome,) = await self._waiting.wait([await self._journal.get(handle)], wait_seconds, caller)
        return outcome

    async def follow_all(self, batch: str, wait_seconds: float, caller: Caller) -> list[Outcome]:
        """Wait for the edits of a batch.

        Raises:
            NoSuchTask: nobody here knows the batch.
        """
        return await self._waiting.wait(await self._journal.in_batch(batch), wait_seconds, caller)

    def hand_over(self, task: Task) -> None:
        """Its result goes out now; a moment later the same request counts as a deliberate new take.

        The moment is for a caller that gave up just then and asks again.
        """
        if task.status is Status.SUCCEEDED and task.delivered_at is None:
            delivery = asyncio.create_task(self._deliver_in_a_moment(task))
            self._going_out[delivery] = task
            delivery.add_done_callback(lambda done: self._going_out.pop(done, None))

    async def delivered(self, task: Task) -> None:
        """The caller has the result."""
        with suppress(JournalUnavailable):  # then asking again brings it once more, which costs nothing
            await self._journal.delivered(task, self._clock.now())

    async def _deliver_in_a_moment(self, task: Task) -> None:
        await self._clock.sleep(_ARRIVAL_SECONDS)
        await self.delivered(task)

    async def preview(self, *tasks: Task) -> bytes | None:
        """One small WebP of all pictures of these tasks; None where there is nothing to show."""
        paths = [picture.path for task in tasks for picture in task.pictures if picture.path.exists()]
        if not paths:
            return None
        try:
            return await asyncio.to_thread(preview, paths)
        except (PictureRefused, OSError) as error:
            logger.warning("no preview of %s: %s", tasks[0].handle, error)
            return None

    async def lineage(self, task: Task) -> list[str]:
        """What the task was made from, as sources: its parent's picture first, then its grandparent's."""
        ancestors: list[str] = []
        while len(ancestors) < _GENERATIONS and (parent := parent_of(task)):
            ancestors.append(parent.source)
            try:
                task = await self._journal.get(parent.task_id)
            except NoSuchTask:
                break
        return ancestors

    async def close(self) -> None:
        """Stop watching; what is under way goes on upstream, and the next process takes it up.

        A submission gets a moment to learn its id, and a result that went out counts as delivered.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(_CLOSING_SECONDS):
                while self._unbreakable:
                    await asyncio.wait(self._unbreakable)
        await self._caretaker.close()
        going_out = dict(self._going_out)
        for work in (*self._unbreakable, *going_out):
            work.cancel()
        for task in going_out.values():
            await self.delivered(task)

    async def _edit(self, calls: Sequence[EditCall], batch: str | None, caller: Caller) -> list[Outcome]:
        pictures = await self._studio.prepare(calls[0].edit.images)  # nothing unchecked leaves the machine
        tasks = [self._write_up(call, pictures, batch) for call in calls]
        await self._ask_the_person(tasks, caller, force_new=calls[0].force_new)
        begun = await self._unbroken(self._begin(tasks, calls, pictures))
        asked = {task.id for task in tasks}
        attached = {task.id for task in begun} - asked
        if batch is None and attached and begun[0].status is Status.UNKNOWN:
            raise FateUnknown(begun[0].handle, usd(begun[0].list_price_usd))
        each_once = list({task.id: task for task in begun}.values())
        outcomes = await self._waiting.wait(each_once, calls[0].wait_seconds, caller)
        return [
            replace(outcome, notes=(*outcome.notes, _ATTACHED)) if outcome.task.id in attached else outcome
            for outcome in outcomes
        ]

    def _write_up(self, call: EditCall, pictures: list[Prepared], batch: str | None) -> Task:
        """The edit as the journal keeps it: no picture, no key."""
        return Task(
            id=f"edit-{uuid.uuid4().hex[:16]}",
            provider=self._settings.provider,
            tier=call.edit.tier,
            prompt=call.edit.prompt,
            parameters=call.edit.chosen,
            sources=tuple(Source(picture.origin, picture.sha256) for picture in pictures),
            list_price_usd=edit_price(call.edit),
            created_at=self._clock.now(),
            batch=batch,
            warnings=(*call.warnings, *(warning for picture in pictures for warning in picture.warnings)),
        )

    async def _ask_the_person(self, tasks: list[Task], caller: Caller, *, force_new: bool) -> None:
        """What is dear needs a person's word; what was bought before does not need it again."""
        limit = self._settings.confirm_above_usd
        if limit is None or not is_dear(tasks, limit):
            return
        new = [task for task in tasks if force_new or await self._journal.earlier(task) is None]
        spendings = await self._journal.spendings(self._settings.limits, self._clock.now())
        refuse_beyond(spendings, price_of(new))  # nobody is asked for what would be refused anyway
        await ask_above(limit, new, caller)

    async def _begin(
        self, tasks: list[Task], calls: Sequence[EditCall], pictures: list[Prepared]
    ) -> list[Task]:
        """Write the edits down before money can move, and set them going; or tell the earlier ones."""
        begun = await self._journal.begin_all(
            tasks, limits=self._settings.limits, force_new=calls[0].force_new
        )
        for task, asked, call in zip(begun, tasks, calls, strict=True):
            if task is asked:
                self._caretaker.start(task, self._carry_through(task, call, pictures))
        return begun

    async def _carry_through(self, task: Task, call: EditCall, pictures: list[Prepared]) -> None:
        """The part of an edit that no caller's cancellation reaches."""
        task = await self._unbroken(self._submit(task, call, pictures))
        if not task.settled:
            await self._see_through(task, before=pictures[0].look)

    async def _submit(self, task: Task, call: EditCall, pictures: list[Prepared]) -> Task:
        """Send the edit once, and write down what came of it."""
        images = [picture.wire(self._settings.image_encoding) for picture in pictures]
        try:
            task_id = await self._novita.submit(call.edit.endpoint, call.edit.body(images))
        except SubmissionUnclear as error:
            return await self._end(task, (Status.UNKNOWN, error.problem))
        except KontextError as error:
            return await self._end(task, (Status.FAILED, error.problem))
        return await self._insist(lambda: self._journal.accepted(task, task_id, self._clock.now()), task_id)

    async def _take_up(self, task: Task) -> None:
        """Go on with an edit that another process left behind."""
        if task.task_id is None:
            await self._end(task, endings.left_while_submitting(task))
        else:
            await self._gallery.clear_away(task)
            first = task.sources[0]
            before = await asyncio.to_thread(look_again, first.origin, first.sha256)
            await self._see_through(task, before=before, at_once=True)

    async def _see_through(self, task: Task, *, before: Look | None, at_once: bool = False) -> None:
        """From upstream's id to pictures on disk; this is also where a restart picks an edit up."""
        for pause in (*_PAUSES_BETWEEN_FETCHES, None):
            try:
                result = await self._done_upstream(task, at_once=at_once)
            except TaskGone as error:
                await self._end(task, endings.unknown_upstream(task, error))
                return
            if result.status is RemoteStatus.FAILED:
                await self._end(task, endings.failed_upstream(task, result.reason))
                return
            try:
                await self._hang_up(task, result, before)
            except PictureNotSaved as error:
                logger.warning("task %s: %s", task.handle, error)
                if isinstance(error, LinkRefused) and task.age(self._clock.now()) > endings.LINK_SECONDS:
                    await self._end(task, endings.links_expired(task, error))
                    return
                task = await self._journal.processing(task, endings.obstacle(error))
            else:
                return
            if pause is not None:
                await self._clock.sleep(pause)
                at_once = True
        shortest, longest = _REST_SECONDS
        rest = min(longest, max(shortest, task.age(self._clock.now()) / 5))
        await self._journal.rest(task, self._clock.now() + rest)

    async def _done_upstream(self, task: Task, *, at_once: bool) -> Result:
        async def processing() -> None:
            await self._journal.processing(task)

        return await self._watcher.until_done(
            task.handle,
            since=task.accepted_at or task.created_at,
            usual=await usual_seconds(self._journal, task),
            at_once=at_once,
            on_processing=processing,
        )

    async def _hang_up(self, task: Task, result: Result, before: Look | None) -> None:
        """Fetch the pictures at once, since their links die, and close the edit."""
        if not result.image_urls:
            raise PictureNotSaved("The API says the edit is done and names no picture.")
        pictures = await self._gallery.save(task, result.image_urls, before)
        asked = int(task.parameters.get("num_images", 1))
        warnings = task.warnings
        if len(pictures) != asked:
            warnings += (f"{asked} pictures were asked for and {len(pictures)} came.",)
        await self._insist(
            lambda: self._journal.succeeded(
                task, pictures, seed=result.seed, warnings=warnings, at=self._clock.now()
            ),
            task.handle,
        )

    async def _end(self, task: Task, ending: endings.Ending) -> Task:
        return await self._insist(lambda: self._journal.ended(task, *ending, self._clock.now()), task.handle)

    async def _unbroken(self, work: Coroutine[object, object, Answer]) -> Answer:
        """Carry `work` to its end, whoever stops waiting for it: half of it would leave money in the dark."""
        job = asyncio.create_task(work)
        self._unbreakable.add(job)
        job.add_done_callback(self._unbreakable.discard)
        return await asyncio.shield(job)

    async def _insist(self, write: Callable[[], Awaitable[Answer]], handle: str) -> Answer:
        """Money has moved: what came of it is written down as soon as the journal can be written again."""
        while True:
            try:
                return await write()
            except JournalUnavailable as error:
                logger.error("task %s is not written down yet: %s", handle, error)  # noqa: TRY400 - no traceback
                await self._clock.sleep(_PAUSE_WITHOUT_JOURNAL)
