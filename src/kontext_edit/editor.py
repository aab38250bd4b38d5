"""The use case, from top to bottom: an instruction and pictures in, an edited picture on disk out.

An edit that was begun belongs to the editor, not to the call that began it: a caller that cancels,
times out or goes away ends its own waiting and nothing else.
"""

import asyncio
import logging
import uuid
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from kontext_edit import endings
from kontext_edit.budget import refuse_beyond
from kontext_edit.caller import Caller
from kontext_edit.caretaker import Caretaker
from kontext_edit.clock import Clock
from kontext_edit.consent import ask_above, is_dear, price_of
from kontext_edit.delivery import Deliveries
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
from kontext_edit.fetcher import Fetcher, look_of
from kontext_edit.gallery import Gallery
from kontext_edit.images.prepare import Prepared, Studio
from kontext_edit.images.preview import Look
from kontext_edit.journal.book import Journal
from kontext_edit.novita import Novita, RemoteStatus, Result
from kontext_edit.pricing import edit_price, usd
from kontext_edit.request import EditCall
from kontext_edit.settings import Settings
from kontext_edit.store.place import Places
from kontext_edit.task import BATCH, Source, Status, Task, parent_of
from kontext_edit.telemetry import Observer, Stage
from kontext_edit.turnstile import Turnstile
from kontext_edit.waiting import Outcome, WaitingRoom, usual_seconds
from kontext_edit.watcher import Watcher
from kontext_edit.webhook import Webhook

logger = logging.getLogger(__name__)

Answer = TypeVar("Answer")

_GENERATIONS = 20
_ATTACHED = "The same edit was asked for before: nothing new was billed. For a new take: force_new: true."

_PAUSES_BETWEEN_FETCHES = (0.5, 2.0, 6.0)
_REST_SECONDS = (30.0, 300.0)
_PAUSE_WITHOUT_JOURNAL = 1.0
_CLOSING_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Sharing:
    """What an edit meets where many owners share a server, or where links are fetched."""

    turnstile: Turnstile | None = None
    """Where edits wait for their turn; without it they are submitted at once."""
    webhook: Webhook | None = None
    """Where upstream tells of an edit's end; without it upstream is asked."""
    fetcher: Fetcher | None = None
    """What fetches the pictures behind links; without it their results are compared with nothing."""


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
        observer: Observer,
        sharing: Sharing,
    ) -> None:
        self._settings = settings
        self._journal = journal
        self._studio = studio
        self._novita = novita
        self._watcher = Watcher(novita, clock)
        self._gallery = gallery
        self._clock = clock
        self._observer = observer
        self._turnstile = sharing.turnstile
        self._webhook = sharing.webhook
        self._fetcher = sharing.fetcher
        self._caretaker = Caretaker(journal, settings.provider, clock, self._take_up)
        self._deliveries = Deliveries(journal, clock)
        self._waiting = WaitingRoom(journal, self._caretaker, settings.provider, clock)
        self._unbreakable: set[asyncio.Future[Any]] = set()

    def open(self) -> None:
        """Begin to look after what earlier processes left under way."""
        if self._webhook is not None:
            self._journal.on_ring.append(self._watcher.ring)
        self._caretaker.begin_rounds()

    def end_waiting(self) -> None:
        """This process is about to close: whoever waits is told what is true by now, and to ask again."""
        self._waiting.close()

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
        task = await self._journal.get(handle, caller.owner)
        (outcome,) = await self._waiting.wait([task], wait_seconds, caller)
        return outcome

    async def follow_all(self, batch: str, wait_seconds: float, caller: Caller) -> list[Outcome]:
        """Wait for the edits of a batch.

        Raises:
            NoSuchTask: nobody here knows the batch.
        """
        tasks = await self._journal.in_batch(batch, caller.owner)
        return await self._waiting.wait(tasks, wait_seconds, caller)

    def hand_over(self, task: Task) -> None:
        """Its result goes out now; a moment later the same request counts as a deliberate new take."""
        self._deliveries.hand_over(task)

    async def delivered(self, task: Task) -> None:
        """The caller has the result."""
        await self._deliveries.delivered(task)

    async def preview(self, *tasks: Task) -> bytes | None:
        """One small WebP of all pictures of these tasks; None where there is nothing to show."""
        try:
            return await self._gallery.preview([picture for task in tasks for picture in task.pictures])
        except (PictureRefused, OSError) as error:
            logger.warning("no preview of %s: %s", tasks[0].handle, error)
            return None

    async def places(self, *tasks: Task) -> Places:
        """Where the pictures of these tasks are, for whoever asks now: links are signed for this answer."""
        return await self._gallery.places(tasks)

    async def original(self, task: Task) -> Prepared | None:
        """The first source as the model saw it; None where it is not at hand unchanged."""
        return await self._studio.again(task.sources[0], task.owner)

    async def lineage(self, task: Task) -> list[str]:
        """What the task was made from, as sources: its parent's picture first, then its grandparent's."""
        ancestors: list[str] = []
        while len(ancestors) < _GENERATIONS and (parent := parent_of(task)):
            ancestors.append(parent.source)
            try:
                task = await self._journal.get(parent.task_id, task.owner)
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
        for work in self._unbreakable:
            work.cancel()
        await self._deliveries.close()

    async def _edit(self, calls: Sequence[EditCall], batch: str | None, caller: Caller) -> list[Outcome]:
        force_new, wait_seconds = calls[0].force_new, calls[0].wait_seconds
        with self._observer.stage(Stage.PREPARE):  # nothing unchecked leaves the machine
            pictures = await self._studio.prepare(calls[0].edit.images, caller.owner)
        tasks = [self._write_up(call, pictures, batch, caller.owner) for call in calls]
        await self._ask_the_person(tasks, caller, force_new=force_new)
        begun = await self._unbroken(self._begin(tasks, calls, pictures))
        del calls, pictures  # a waiting caller needs no megabytes
        asked = {task.id for task in tasks}
        attached = {task.id for task in begun} - asked
        if batch is None and attached and begun[0].status is Status.UNKNOWN:
            raise FateUnknown(begun[0].handle, usd(begun[0].list_price_usd))
        each_once = list({task.id: task for task in begun}.values())
        outcomes = await self._waiting.wait(each_once, wait_seconds, caller)
        return [
            replace(outcome, notes=(*outcome.notes, _ATTACHED)) if outcome.task.id in attached else outcome
            for outcome in outcomes
        ]

    def _write_up(self, call: EditCall, pictures: list[Prepared], batch: str | None, owner: str) -> Task:
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
            status=Status.SUBMITTING if self._turnstile is None else Status.WAITING,
            owner=owner,
            batch=batch,
            warnings=(*call.warnings, *(warning for picture in pictures for warning in picture.warnings)),
        )

    async def _ask_the_person(self, tasks: list[Task], caller: Caller, *, force_new: bool) -> None:
        """What is dear needs a person's word; what was bought before does not need it again."""
        limit = self._settings.confirm_above_usd
        if limit is None or not is_dear(tasks, limit):
            return
        new = [task for task in tasks if force_new or await self._journal.earlier(task) is None]
        spendings = await self._journal.spendings(self._settings.limits, caller.owner, self._clock.now())
        refuse_beyond(spendings, price_of(new))  # nobody is asked for what would be refused anyway
        await ask_above(limit, new, caller)

    async def _begin(
        self, tasks: list[Task], calls: Sequence[EditCall], pictures: list[Prepared]
    ) -> list[Task]:
        """Write the edits down before money can move, and set them going; or tell the earlier ones."""
        begun = await self._journal.begin_all(
            tasks,
            limits=self._settings.limits,
            allowance=self._settings.serving.allowance,
            force_new=calls[0].force_new,
        )
        for task, asked, call in zip(begun, tasks, calls, strict=True):
            if task is asked:
                self._caretaker.start(task, self._carry_through(task, call, pictures))
        return begun

    async def _carry_through(self, task: Task, call: EditCall, pictures: list[Prepared]) -> None:
        """The part of an edit that no caller's cancellation reaches."""
        with self._observer.edit(task, bytes_in=sum(len(picture.data or b"") for picture in pictures)):
            before = asyncio.ensure_future(look_of(pictures[0], self._fetcher))
            try:
                task = await self._in_turn(task, call, pictures)
                del call, pictures  # while upstream works, an edit needs no megabytes
                if not task.settled:
                    await self._see_through(task, before)
            finally:
                before.cancel()

    async def _in_turn(self, task: Task, call: EditCall, pictures: list[Prepared]) -> Task:
        """Submit the edit; on a server for many, once its owner's turn has come."""
        if self._turnstile is None:
            return await self._unbroken(self._submit(task, call, pictures))
        async with self._turnstile.turn(task.owner):
            task = await self._journal.sending(task)
            if task.status is not Status.SUBMITTING:  # somebody took it for abandoned
                return task
            return await self._unbroken(self._submit(task, call, pictures))

    async def _submit(self, task: Task, call: EditCall, pictures: list[Prepared]) -> Task:
        """Send the edit once, and write down what came of it."""
        images = [picture.wire(self._settings.image_encoding) for picture in pictures]
        try:
            with self._observer.stage(Stage.SUBMIT):
                task_id = await self._novita.submit(
                    call.edit.endpoint,
                    call.edit.body(images),
                    webhook=self._webhook.url_for(task.id) if self._webhook else None,
                    owner=task.owner,
                )
        except SubmissionUnclear as error:
            return await self._end(task, (Status.UNKNOWN, error.problem))
        except KontextError as error:
            return await self._end(task, (Status.FAILED, error.problem))
        return await self._insist(lambda: self._journal.accepted(task, task_id, self._clock.now()), task_id)

    async def _take_up(self, task: Task) -> None:
        """Go on with an edit that another process left behind."""
        with self._observer.edit(task, taken_up=True):
            if task.status is Status.WAITING:
                await self._end(task, endings.left_waiting())
            elif task.task_id is None:
                await self._end(task, endings.left_while_submitting(task))
            else:
                await self._gallery.clear_away(task)
                await self._see_through(task, asyncio.ensure_future(self._look_again(task)), at_once=True)

    async def _look_again(self, task: Task) -> Look | None:
        original = await self.original(task)
        return original and original.look

    async def _see_through(
        self, task: Task, before: asyncio.Future[Look | None], *, at_once: bool = False
    ) -> None:
        """From upstream's id to pictures on disk; this is also where a restart picks an edit up."""
        for pause in (*_PAUSES_BETWEEN_FETCHES, None):
            try:
                with self._observer.stage(Stage.WAIT):
                    result = await self._done_upstream(task, at_once=at_once)
            except TaskGone as error:
                await self._end(task, endings.unknown_upstream(task, error))
                return
            if result.status is RemoteStatus.FAILED:
                await self._end(task, endings.failed_upstream(task, result.reason))
                return
            try:
                with self._observer.stage(Stage.FETCH):
                    await self._hang_up(task, result, await before)
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
            bell=task.id if self._webhook else None,
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
        done = await self._insist(
            lambda: self._journal.succeeded(
                task,
                pictures,
                seed=result.seed,
                warnings=warnings,
                at=self._clock.now(),
                render_seconds=result.render_seconds,
            ),
            task.handle,
        )
        self._observer.ended(done)

    async def _end(self, task: Task, ending: endings.Ending) -> Task:
        ended = await self._insist(lambda: self._journal.ended(task, *ending, self._clock.now()), task.handle)
        self._observer.ended(ended)
        return ended

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
