"""A call's flat arguments -> a validated request, or every problem at once.

A parameter given as null counts as not given, since many models fill what they do not use with null.
Nothing else is dropped: an unknown parameter, or one of another tier, is a problem.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Annotated, Any, Literal, TypeVar, cast

from pydantic import MISSING, BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from kontext_edit.errors import InvalidArguments
from kontext_edit.schema import JsonSchema, all_parameters, properties, rule_sentence
from kontext_edit.tiers import TIERS, FastMode, Kontext, NumImages, TierName, owners

Arguments = Mapping[str, Any]
Model = TypeVar("Model", bound=BaseModel)

WaitSeconds = Annotated[float, Field(ge=0, le=50)]
"""At most 50: many clients give up after 60."""
DEFAULT_WAIT_SECONDS = 40

Prompts = Annotated[
    list[Annotated[str, Field(pattern=r"\S")]],
    Field(min_length=1, max_length=20, description="Instead of prompt: an edit of the same images for each."),
]
ForceNew = Annotated[bool, Field(description="Buy anew even what runs or was not fetched.")]

PublicStatus = Literal["queued", "processing", "succeeded", "failed", "unknown"]
"""What callers are told of a task; before upstream's answer it is queued here."""

_PROMPT_TOKENS = 512
"""Kontext reads so many tokens of a prompt and cuts the rest (T5's limit in diffusers' pipeline)."""
_CHARACTERS_A_TOKEN = 4
_MOST_ARGUMENTS = 100
_SHOWN_CHARACTERS = 60
_NEARBY = 20
_LISTS = {"images", "prompts"}
_PROMPTS = {"prompt", "prompts"}
UNWRITABLE = re.compile("[\0\ud800-\udfff]")
"""What no database and no request can hold."""
_ANY_PROMPT = "-"
"""Stands in for the prompt while the rest of a call with `prompts` is validated."""


class _Call(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class EditOptions(_Call):
    """What `edit_image` takes beside the parameters of a tier."""

    prompts: Prompts | MISSING = MISSING
    tier: TierName | MISSING = MISSING
    wait_seconds: WaitSeconds = DEFAULT_WAIT_SECONDS
    force_new: ForceNew = False


class TaskCall(_Call):
    """A call of `get_task`."""

    task_id: Annotated[str, Field(pattern=r"\S")]
    wait_seconds: WaitSeconds = DEFAULT_WAIT_SECONDS


class ListCall(_Call):
    """A call of `list_tasks`."""

    status: PublicStatus | MISSING = MISSING
    limit: Annotated[int, Field(ge=1, le=50)] = 10
    cursor: Annotated[str, Field(pattern=r"\S")] | MISSING = MISSING


class EstimateCall(_Call):
    """A call of `estimate_cost`; without a tier all are told side by side."""

    tier: TierName | MISSING = MISSING
    fast_mode: FastMode | MISSING = MISSING
    num_images: NumImages = 1
    edits: Annotated[int, Field(ge=1, le=1_000_000, description="How many such calls.")] = 1


@dataclass(frozen=True, slots=True)
class EditCall:
    """A call of `edit_image` that can be carried out."""

    edit: Kontext
    wait_seconds: float
    force_new: bool
    warnings: tuple[str, ...]


def parse_edit(arguments: Arguments, default_tier: str) -> EditCall:
    """The arguments of one edit, validated for their tier.

    Raises:
        InvalidArguments: with every problem of the call.
    """
    given = _given(arguments)
    options, problems = _validated(
        EditOptions, {name: given.pop(name) for name in EditOptions.model_fields if name in given}
    )
    tier = default_tier if (chosen := arguments.get("tier")) is None else chosen
    model = TIERS.get(tier) if isinstance(tier, str) else None
    if model is None:
        raise InvalidArguments(problems + _tierless_problems(given), _hint(given))
    edit, more = _validated(model, given)
    if options is None or edit is None:
        raise InvalidArguments(problems + more, _hint(given))
    return EditCall(edit, options.wait_seconds, options.force_new, tuple(_warnings(edit)))


def parse_edits(arguments: Arguments, default_tier: str) -> list[EditCall]:
    """The arguments of `edit_image` with `prompts`: an edit for each of them.

    Raises:
        InvalidArguments: with every problem of the call.
    """
    if arguments.get("prompt") is not None:
        raise InvalidArguments(["Give `prompt` or `prompts`, not both."])
    call = parse_edit({**arguments, "prompt": _ANY_PROMPT}, default_tier)
    prompts: list[str] = _given(arguments)["prompts"]
    edits = [call.edit.model_copy(update={"prompt": prompt}) for prompt in prompts]
    return [replace(call, edit=edit, warnings=tuple(_warnings(edit))) for edit in edits]


def parse_task(arguments: Arguments) -> TaskCall:
    """The arguments of `get_task`.

    Raises:
        InvalidArguments: with every problem of the call.
    """
    return _parse(TaskCall, arguments)


def parse_list(arguments: Arguments) -> ListCall:
    """The arguments of `list_tasks`.

    Raises:
        InvalidArguments: with every problem of the call.
    """
    return _parse(ListCall, arguments)


def parse_estimate(arguments: Arguments) -> EstimateCall:
    """The arguments of `estimate_cost`.

    Raises:
        InvalidArguments: with every problem of the call.
    """
    given = _given(arguments)
    call, problems = _validated(EstimateCall, given)
    tier = given.get("tier")
    if isinstance(tier, str) and tier in TIERS:
        priced = [name for name in given if name in EstimateCall.model_fields and owners(name)]
        problems += _strangers(priced, TIERS[tier])
    if call is None or problems:
        raise InvalidArguments(problems)
    return call


def _parse(model: type[Model], arguments: Arguments) -> Model:
    call, problems = _validated(model, _given(arguments))
    if call is None:
        raise InvalidArguments(problems)
    return call


def _validated(model: type[Model], given: dict[str, Any]) -> tuple[Model | None, list[str]]:
    """The model, or None and every problem that keeps it from being one."""
    known = {name: value for name, value in given.items() if name in model.model_fields}
    unwritable = _unwritable(known)
    problems = [*_strangers(given, model), *unwritable.values()]
    try:
        valid = model.model_validate(known)
    except ValidationError as error:
        rules = properties(model)
        found = [detail for detail in _first_by_field(error) if detail["loc"][0] not in unwritable]
        return None, problems + [_problem(detail, rules, known) for detail in found]
    return (None if problems else valid), problems


def _unwritable(known: Mapping[str, Any]) -> dict[str, str]:
    """What is wrong, by parameter, with prompts that no database and no request can hold."""
    problems: dict[str, str] = {}
    for name in _PROMPTS & known.keys():
        prompts = known[name] if isinstance(known[name], list) else [known[name]]
        for prompt in prompts:
            if isinstance(prompt, str) and (found := UNWRITABLE.search(prompt)):
                what = "a NUL character" if found[0] == "\0" else "half of a character (a lone surrogate)"
                nearby = _shown(prompt[max(0, found.start() - _NEARBY) : found.end() + _NEARBY])
                problems[name] = (
                    f"`{name}` has {what} in {nearby}, which cannot be sent or written down: leave it out."
                )
                break
    return problems


def _tierless_problems(given: dict[str, Any]) -> list[str]:
    """What can be told of a call without a tier: what is the same on all, and what none has heard of."""
    _, problems = _validated(Kontext, {name: given[name] for name in Kontext.model_fields if name in given})
    known = [*all_parameters(), *EditOptions.model_fields]
    return problems + [_unheard_of(name, known, known) for name in given if name not in known]


def _given(arguments: Arguments) -> dict[str, Any]:
    """What was chosen. Some clients send a list as a string of JSON, which is taken for the list."""
    if len(arguments) > _MOST_ARGUMENTS:  # to say of each of a million what it may mean would take a minute
        raise InvalidArguments([f"There are {len(arguments)} arguments, and no tool takes so many."])
    chosen = {name: value for name, value in arguments.items() if value is not None}
    for name in _LISTS & chosen.keys():
        with suppress(ValueError, RecursionError):
            value = json.loads(chosen[name]) if isinstance(chosen[name], str) else None
            chosen[name] = value if isinstance(value, list) else chosen[name]
    return chosen


def _strangers(given: Iterable[str], model: type[BaseModel]) -> list[str]:
    """Parameters that the model does not take: whose they are, or what may have been meant."""
    known, close_to = list(model.model_fields), list(model.model_fields)
    if issubclass(model, Kontext):
        known += EditOptions.model_fields
        close_to = [*all_parameters(), *EditOptions.model_fields]
    problems: list[str] = []
    for name in given:
        if name in model.model_fields:
            continue
        having = owners(name)
        if having and issubclass(model, Kontext):
            problems.append(_of_other_tiers(name, having, model.tier))
        else:
            problems.append(_unheard_of(name, known, close_to))
    return problems


def _of_other_tiers(name: str, having: list[str], tier: str) -> str:
    return (
        f"`{name}` is a parameter of {' and '.join(having)}, not of {tier}: "
        f"leave it out, or set `tier` to {' or '.join(having)}."
    )


def _unheard_of(name: str, known: list[str], close_to: list[str]) -> str:
    close = get_close_matches(name, close_to, n=1) if len(name) <= _SHOWN_CHARACTERS else []
    meant = f"Did you mean `{close[0]}`?" if close else f"Known are {', '.join(known)}."
    return f"There is no parameter {_shown(name)}. {meant}"


def _first_by_field(error: ValidationError) -> list[ErrorDetails]:
    """One finding a field: a list of five wrong items is one problem."""
    findings: dict[object, ErrorDetails] = {}
    for detail in error.errors(include_url=False, include_context=False):
        findings.setdefault(detail["loc"][0], detail)
    return list(findings.values())


_MISSING_SENTENCES = {
    "prompt": 'say what to change, for example "Change the jacket to red leather, keep the face"',
    "images": "name 1 to 4 pictures to edit",
    "task_id": "it is in the result of edit_image",
}


def _problem(detail: ErrorDetails, rules: dict[str, JsonSchema], given: dict[str, Any]) -> str:
    name, kind = str(detail["loc"][0]), detail["type"]
    if kind == "missing":
        return f"`{name}` is missing: {_MISSING_SENTENCES[name]}."
    if name in _MISSING_SENTENCES and kind in ("string_pattern_mismatch", "too_short"):
        return f"`{name}` is empty: {_MISSING_SENTENCES[name]}."
    return f"`{name}` must be {rule_sentence(rules[name])}; got {_shown(given[name])}."


def _hint(given: Mapping[str, Any]) -> str:
    if given.get("images"):
        return ""
    return (
        "Kontext edits pictures that exist. To make one from text alone is text-to-image, which this server "
        "does not do; on Novita the models for that are FLUX.1 [dev] and FLUX.1 [schnell]. A picture in the "
        "chat cannot be seen here: ask for its path, or to copy it (clipboard)."
    )


def _warnings(edit: Kontext) -> Iterable[str]:
    if "safety_tolerance" in edit.chosen:
        yield "safety_tolerance has no effect on an edit; it acts in text-to-image only."
    if len(edit.prompt) > _PROMPT_TOKENS * _CHARACTERS_A_TOKEN:
        yield f"The prompt is long: the model reads about {_PROMPT_TOKENS} tokens and cuts the rest."


def _shown(value: object) -> str:
    """A value as an error quotes it: short and on one line, whatever it is."""
    few = cast("Sequence[object]", value)[:_SHOWN_CHARACTERS] if isinstance(value, (str, list)) else value
    text = repr(few)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"
