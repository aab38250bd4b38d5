"""The use case, from top to bottom: an instruction and pictures in, an edited picture on disk out.

An edit that was begun belongs to the editor, not to the call that began it: a caller that cancels,
times out or goes away ends its own waiting and nothing else.
"""

import asyncio
import logging
import uuid
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

from kontext_edit import endings
from kontext_edit.budget import refuse_beyond, what_fits
from kontext_edit.caller import Caller, Consent
from kontext_edit.caretaker import Caretaker
from kontext_edit.clock import Clock
from kontext_edit.errors import (
    ConsentMissing,
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
from kontext_edit.images.sources import Recall, Recalled
from kontext_edit.journal.book import Journal
from kontext_edit.novita import Novita, RemoteStatus, Result
from kontext_edit.pricing import edit_price, usd
from kontext_edit.request import EditCall
from kontext_edit.settings import Settings
from kontext_edit.task import SANDBOX, Source, Status, Task
from kontext_edit.tiers import TIERS
from kontext_edit.watcher import Usual, Watcher, progress_percent

logger = logging.getLogger(__name__)

Answer = TypeVar("Answer")

_TICK_SECONDS = 1.0
_PAUSES_BETWEEN_FETCHES = (0.5, 2.0, 6.0)
_REST_SECONDS = (30.0, 300.0)
_PAUSE_WITHOUT_JOURNAL = 1.0
_ARRIVAL_SECONDS = 1.0
_CLOSING_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a caller gets: how far an edit is, and what there is to say about this moment."""

    task: Task
    progress_percent: float
    notes: tuple[str, ...] = ()


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
        self._unbreakable: set[asyncio.Task[Task]] = set()
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
        pictures = await self._studio.prepare(call.edit.images)  # nothing unchecked leaves the machine
        task = self._write_up(call, pictures)
        if call.force_new or not await self._journal.same_unfinished(task):
            await self._ask_above_the_limit(task, caller)
        begun = await self._unbroken(self._begin(task, call, pictures))
        if begun is not task:
            return await self._attach(begun, call.wait_seconds, caller)
        return await self._wait(task, call.wait_seconds, caller)

    async def follow(self, handle: str, wait_seconds: float, caller: Caller) -> Outcome:
        """Wait for an edit that was begun by whomever and whenever, as long as the caller says.

        Raises:
            NoSuchTask: nobody here knows the id.
        """
        task = await self._journal.get(handle)
        if not task.settled and task.task_id and self._can_ask_about(task):
            await self._caretaker.take_up(task)
        return await self._wait(task, wait_seconds, caller)

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

    async def preview(self, task: Task) -> bytes | None:
        """A small WebP of all pictures of a task; None where there is nothing to show."""
        paths = [picture.path for picture in task.pictures if picture.path.exists()]
        if not paths:
            return None
        try:
            return await asyncio.to_thread(preview, paths)
        except (PictureRefused, OSError) as error:
            logger.warning("task %s: no preview: %s", task.handle, error)
            return None

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

    def _write_up(self, call: EditCall, pictures: list[Prepared]) -> Task:
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
            warnings=(*call.warnings, *(warning for picture in pictures for warning in picture.warnings)),
        )

    async def _ask_above_the_limit(self, task: Task, caller: Caller) -> None:
        """A dear edit needs the person's word; no argument of a tool stands in for it."""
        limit = self._settings.confirm_above_usd
        if limit is None or task.cost_usd <= limit:
            return
        refuse_beyond(await self._journal.spendings(self._settings.limits, task.created_at), task.cost_usd)
        price = usd(task.cost_usd)
        question = f"Buy this edit for {price} USD? Kontext {task.tier}: {task.prompt[:200]}"
        consent = await caller.consent(question, f"{task.fingerprint} {price}")
        if consent is Consent.GIVEN:
            return
        setting = f"KONTEXT_CONFIRM_ABOVE_USD ({usd(limit)} USD)"
        if consent is Consent.IMPOSSIBLE:
            raise ConsentMissing(
                f"This edit costs {price} USD, above {setting}, and this client cannot ask the person. "
                "Nothing was sent.",
                f"Only the person can raise the setting, where the server is configured. {what_fits(limit)}",
            )
        did = "declined" if consent is Consent.DECLINED else "closed the question about"
        raise ConsentMissing(
            f"The person {did} an edit for {price} USD, above {setting}. Nothing was sent.",
            f"Ask the person what they want instead. {what_fits(limit)}",
        )

    async def _begin(self, task: Task, call: EditCall, pictures: list[Prepared]) -> Task:
        """Write the edit down before money can move, and set it going; or tell the earlier one."""
        begun = await self._journal.begin(task, limits=self._settings.limits, force_new=call.force_new)
        if begun is task:
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
                if isinstance(error, LinkRefused) and self._age(task) > endings.LINK_SECONDS:
                    await self._end(task, endings.links_expired(task, error))
                    return
                task = await self._journal.processing(task, endings.obstacle(error))
            else:
                return
            if pause is not None:
                await self._clock.sleep(pause)
                at_once = True
        shortest, longest = _REST_SECONDS
        rest = min(longest, max(shortest, self._age(task) / 5))
        await self._journal.rest(task, self._clock.now() + rest)

    async def _done_upstream(self, task: Task, *, at_once: bool) -> Result:
        async def processing() -> None:
            await self._journal.processing(task)

        return await self._watcher.until_done(
            task.handle,
            since=task.accepted_at or task.created_at,
            usual=await self._usual_seconds(task),
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

    async def _unbroken(self, work: Coroutine[object, object, Task]) -> Task:
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

    async def _attach(self, earlier: Task, wait_seconds: float, caller: Caller) -> Outcome:
        """Give the caller the edit that was bought before."""
        outcome = await self.follow(earlier.id, wait_seconds, caller)
        note = (
            "This is the same edit as asked for before: nothing new was billed. A new take: force_new: true."
        )
        return Outcome(outcome.task, outcome.progress_percent, (*outcome.notes, note))

    async def _wait(self, task: Task, seconds: float, caller: Caller) -> Outcome:
        """Until the edit is settled or the time is up. A cancelled caller leaves the edit alone."""
        usual = await self._usual_seconds(task)
        deadline = self._clock.monotonic() + seconds
        while not task.settled and (left := deadline - self._clock.monotonic()) > 0:
            percent = progress_percent(self._age(task), usual)
            await caller.progress(percent, _sentence(task, self._age(task)))
            job = self._caretaker.job(task)
            await self._pass_time(job, min(left, _TICK_SECONDS))
            task = await self._latest(task)
            if (job and job.done()) or not self._can_ask_about(task):
                break
        return Outcome(task, progress_percent(self._age(task), usual), self._notes(task))

    async def _latest(self, task: Task) -> Task:
        """How far an edit is; as it was known before, while the journal cannot tell."""
        try:
            return await self._journal.get(task.id)
        except (JournalUnavailable, NoSuchTask) as error:
            logger.warning("task %s: %s", task.handle, error)
            return task

    async def _pass_time(self, job: asyncio.Task[None] | None, seconds: float) -> None:
        """Until the job is done, at most so long."""
        tick = asyncio.ensure_future(self._clock.sleep(seconds))
        try:
            await asyncio.wait({tick, job} if job else {tick}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            tick.cancel()

    def _notes(self, task: Task) -> tuple[str, ...]:
        notes = [self._journal.notice] if self._journal.notice else []
        if not task.settled and not self._can_ask_about(task):
            notes.append(f"This edit is with the provider {task.provider!r}; the server is set to another.")
        return tuple(notes)

    def _can_ask_about(self, task: Task) -> bool:
        return task.provider == self._settings.provider

    def _age(self, task: Task) -> float:
        return max(0.0, self._clock.now() - (task.accepted_at or task.created_at))

    async def _usual_seconds(self, task: Task) -> Usual:
        """How long an edit like this tends to take: from experience, else the spec's first guess."""
        with suppress(JournalUnavailable):
            if usual := await self._journal.usual_seconds(task.tier, task.provider):
                return usual
        return TIERS[task.tier].usual_seconds


def recall_from(journal: Journal) -> Recall:
    """How the sources `last`, `task:<id>` and `task:<id>#2` find earlier results."""

    async def recall(task_id: str | None, number: int) -> Recalled:
        task = await journal.last() if task_id is None else await journal.get(task_id)
        if task is None:
            raise PictureRefused("There is no earlier result yet.", "Name a picture by its path or URL.")
        if not 1 <= number <= len(task.pictures):
            raise PictureRefused(
                f"The task {task.handle} has {len(task.pictures)} pictures, so there is no #{number}.",
                "" if task.settled else "Call get_task to see how far it is.",
            )
        return Recalled(task.pictures[number - 1].path, task.handle, number)

    return recall


def _sentence(task: Task, elapsed: float) -> str:
    who = "The sandbox paints" if task.provider == SANDBOX else f"Kontext {task.tier.capitalize()} edits"
    return f"{who} for {elapsed:.0f} s"
