"""What a recipe is: what it asks a person for, and the instruction to an assistant that comes of it."""

import re
from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass

from kontext_edit.request import UNWRITABLE, EditOptions
from kontext_edit.schema import properties

Given = Mapping[str, str]
"""The arguments as a person filled them in; those left empty are not there."""

MOST_SCENES: int = properties(EditOptions)["prompts"]["maxItems"]
"""So many prompts one call of edit_image takes."""


@dataclass(frozen=True, slots=True)
class Argument:
    """What a recipe asks for."""

    name: str
    title: str
    description: str
    _: KW_ONLY
    required: bool = False
    suggestions: tuple[str, ...] = ()
    """What a client may offer while a person types."""
    choices: tuple[str, ...] = ()
    """What it must be one of, where that is fixed."""
    picture: bool = False
    """Whether it is a source, for which earlier results are offered too."""
    between: tuple[int, int] | None = None
    """What the whole number must lie between, where it is one."""
    scenes: bool = False
    """Whether it is a list of scenes."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """A prompt: what it is for, what it asks, and the instruction that comes of it."""

    name: str
    title: str
    description: str
    arguments: tuple[Argument, ...]
    write: Callable[[Given], str]
    """The instruction, from arguments that are checked, with `tier` always there."""
    tier: str | None = None
    """The tier that it is best made with, where that is not the person's own choice."""


def problems(recipe: Recipe, given: Given) -> list[str]:
    """Everything that keeps a recipe from being written, each as a sentence."""
    known = {argument.name: argument for argument in recipe.arguments}
    found = [
        f"`{each.name}` is missing: {each.description}"
        for each in recipe.arguments
        if each.required and each.name not in given
    ]
    for name, value in given.items():
        if name not in known:
            found.append(f"There is no argument {name[:40]!r}; there are {', '.join(known)}.")
        elif rule := _broken_rule(known[name], value):
            found.append(f"`{name}` must be {rule}; got {value[:40]!r}.")
    return found


def _broken_rule(argument: Argument, value: str) -> str | None:
    """What the value must be and is not."""
    if UNWRITABLE.search(value):
        return "text without NUL characters and halves of characters"
    if argument.choices and value not in argument.choices:
        return f"one of {', '.join(argument.choices)}"
    if argument.between and not _is_between(value, *argument.between):
        return "a whole number from {} to {}".format(*argument.between)
    if argument.scenes and not 1 <= len(scenes_in(value)) <= MOST_SCENES:
        return f"1 to {MOST_SCENES} scenes, separated by semicolons or lines"
    return None


def _is_between(value: str, least: int, most: int) -> bool:
    return bool(re.fullmatch(r"[0-9]{1,10}", value)) and least <= int(value) <= most


def scenes_in(value: str) -> list[str]:
    """The scenes that a text names, separated by semicolons or lines."""
    return [scene.strip(" .") for scene in re.split(r"[;\n]", value) if scene.strip(" .")]
