"""The words that the painter knows: a prompt becomes effects in the order found, and a caption."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from kontext_edit.sandbox import effects
from kontext_edit.sandbox.effects import Effect, tint

_READ_CHARACTERS = 2_000
"""Kontext itself reads 512 tokens of a prompt, which is about as much."""

_QUOTED = re.compile(
    r"""(?<!\w)'(.{1,120}?)'(?!\w) | "(.{1,120}?)" | “(.{1,120}?)” | ‘(.{1,120}?)’(?!\w) | «(.{1,120}?)»""",
    re.VERBOSE | re.DOTALL,
)
_NOT_WANTED = re.compile(
    r"\b(?:keep(?:ing)?|preserv(?:e|ing)|without|do not|don't|remov(?:e|ing)|instead of)\b[^.,;:]*"
    r"|\bfrom [^.,;:]{1,60}? to\b",
    re.IGNORECASE,
)
"""What a prompt says about the parts that stay, go, or were so before."""

_LEFTWARDS = re.compile(r"\b(?:left|counter-?clockwise|anti-?clockwise)\b", re.IGNORECASE)
_DEGREES = re.compile(r"\d{1,3}")


@dataclass(slots=True)
class Reading:
    """What the painter understood of a prompt."""

    turns: list[Effect] = field(default_factory=list[Effect])
    """Effects that move the picture, which happen before it is fitted."""
    looks: list[Effect] = field(default_factory=list[Effect])
    """Effects that change its colours or its grain."""
    caption: str | None = None
    """The last quoted text."""

    @property
    def is_empty(self) -> bool:
        """Whether no word was known."""
        return not (self.turns or self.looks or self.caption)


def _rotation(words: str) -> Effect:
    """From `rotate 30 degrees to the left` and the like; a quarter to the right where nothing is said."""
    number = _DEGREES.search(words)
    degrees = float(number[0]) if number else 90.0
    return effects.rotate(-degrees if _LEFTWARDS.search(words) else degrees)


_TURNS: dict[str, Callable[[str], Effect]] = {
    r"rotat(?:e|ed|ing)\b[^.,;]{0,60}": _rotation,
    r"turn(?:ed)?(?: it| the \w+)? \d{1,3} ?(?:degrees|°)[^.,;]{0,40}": _rotation,
    r"upside[- ]down": lambda _: effects.rotate(180),
    r"flip(?:ped)?(?: \w+){0,3} vertically|vertical flip": lambda _: effects.flip,
    r"mirror(?:ed)?|flip(?:ped)?": lambda _: effects.mirror,
}

_LOOKS: dict[str, Effect] = {
    r"black[- ]and[- ]white|b&w|gr[ae]y[- ]?scale|monochrome|noir": effects.grayscale,
    r"sepia": effects.sepia,
    r"warm(?:er|th)?": effects.warmer,
    r"cold(?:er)?|cooler|chill(?:y|ier)|wint(?:er|ry)|snowy?": effects.colder,
    r"sun(?:set|rise)|golden hour|dawn": effects.sunset,
    r"night(?:time)?|dusk|midnight|moonlight|twilight": effects.night,
    r"unsharp|blur(?:red|ry|s)?|out of focus|bokeh": effects.blur,
    r"sharp(?:en(?:ed)?|er)?|crisp(?:er)?": effects.sharpen,
    r"(?:less|lower|reduced?) contrast|soft(?:er)? light": effects.softer,
    r"(?:more |higher? |increased? (?:the )?|strong(?:er)? )?contrast|dramatic": effects.contrast,
    r"bright(?:er|en(?:ed)?)?|lighter|lighten|sunny": effects.brighter,
    r"dark(?:er|en(?:ed)?)?|dim(?:mer)?": effects.darker,
    r"desaturated?|muted|faded|pale": effects.muted,
    r"saturated?|vivid|vibrant|colou?rful": effects.vivid,
    r"invert(?:ed)?|negative": effects.negative,
    r"pencil|sketch(?:ed)?|line drawing|drawing|charcoal": effects.sketch,
    r"pixel(?:s|ate|ated)?|pixel[- ]art|8[- ]bit": effects.pixelate,
    r"cartoon|comic|anime": effects.cartoon,
    r"poster(?:ized?|ised?)?|pop[- ]art": effects.poster,
    r"vintage|retro|old photo(?:graph)?|nostalgic": effects.vintage,
    r"red|crimson|scarlet": tint((206, 44, 40)),
    r"orange": tint((240, 130, 30)),
    r"yellow": tint((244, 206, 52)),
    r"gold(?:en)?": tint((214, 168, 62)),
    r"green|emerald": tint((54, 158, 78)),
    r"turquoise|teal|cyan": tint((32, 168, 172)),
    r"blue|navy": tint((48, 98, 206)),
    r"purple|violet": tint((128, 66, 190)),
    r"pink": tint((242, 126, 172)),
    r"magenta": tint((206, 48, 152)),
    r"brown": tint((132, 86, 52)),
    r"white": tint((238, 236, 232)),
    r"black": tint((44, 44, 48)),
    r"gr[ae]y|silver": tint((142, 144, 148)),
}


def _any_of(patterns: list[str]) -> re.Pattern[str]:
    """One pattern for all; the group that matched is the place of the pattern in the list."""
    words = "|".join(f"({pattern})" for pattern in patterns)
    return re.compile(rf"(?<!\w)(?:{words})(?!\w)", re.IGNORECASE)


_ANY_TURN = _any_of(list(_TURNS))
_ANY_LOOK = _any_of(list(_LOOKS))


def read(prompt: str) -> Reading:
    """Understand of `prompt` what can be understood without a model."""
    text = prompt[:_READ_CHARACTERS]
    quoted = [next(filter(None, match.groups())) for match in _QUOTED.finditer(text)]
    plain = _NOT_WANTED.sub(" ", _QUOTED.sub(" ", text))
    turns = list(_TURNS.values())
    looks = list(_LOOKS.values())
    return Reading(
        turns=[turns[place](words) for place, words in _found(_ANY_TURN, plain).items()],
        looks=[looks[place] for place in _found(_ANY_LOOK, _ANY_TURN.sub(" ", plain))],
        caption=quoted[-1] if quoted else None,
    )


def _found(pattern: re.Pattern[str], text: str) -> dict[int, str]:
    """The alternatives that occur in `text`, each once, in the order found, with the words that matched."""
    found: dict[int, str] = {}
    for match in pattern.finditer(text):
        found.setdefault((match.lastindex or 1) - 1, match[0])
    return found
