"""All recipes, as clients list them."""

from typing import get_args

from kontext_edit.recipes import instructions
from kontext_edit.recipes.instructions import DRAFTS, EXTEND, SEED, SWAP, WIDE
from kontext_edit.recipes.recipe import MOST_SCENES, Argument, Recipe
from kontext_edit.schema import flat_parameter
from kontext_edit.tiers import TIERS, Max, Ratio

_COLOURS = ("black", "white", "grey", "red", "orange", "yellow", "green", "blue", "purple", "pink", "brown")
_WORN = ("jacket", "shirt", "dress", "trousers", "shoes", "hat", "glasses", "hair colour", "hairstyle")
_MATERIALS = ("red leather", "blue denim", "white linen", "black velvet", "a short bob", "long curls")
_PLACES = (
    "a sandy beach at sunset",
    "a snowy mountain range",
    "a plain white studio backdrop",
    "a busy city street at night",
    "a sunlit forest",
)
_STYLES = (
    "a watercolour painting",
    "an oil painting with visible brushstrokes",
    "a pencil sketch",
    "a woodblock print",
    "a comic book page",
    "a pixel art scene",
    "a black-and-white photograph",
    "a 1970s film photograph",
)


def _tier(description: str = "The tier to edit with; without it, the person's default.") -> Argument:
    return Argument("tier", "Tier", description, choices=tuple(TIERS))


def _picture(name: str = "picture", title: str = "Picture", *, required: bool = True) -> Argument:
    description = "A source as edit_image takes it: a URL, task:<id> (an earlier result), last, …"
    return Argument(name, title, description, required=required, picture=True)


def _subject(description: str, *, required: bool = False) -> Argument:
    return Argument("subject", "Subject", description, required=required)


RECIPES: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            "change_look",
            "Change clothing or hair",
            "Another jacket, hair colour or pair of glasses, on the same person.",
            (
                _picture(),
                Argument(
                    "what",
                    "What changes",
                    "The garment or hair, say jacket.",
                    required=True,
                    suggestions=_WORN,
                ),
                Argument(
                    "to",
                    "Into what",
                    "What it becomes, say red leather.",
                    required=True,
                    suggestions=_COLOURS + _MATERIALS,
                ),
                _subject("Whose it is, say the woman on the left; without it, the person."),
                _tier(),
            ),
            instructions.change_look,
        ),
        Recipe(
            "change_background",
            "Swap or extend the background",
            "Another place around the same subject, or more of the same place.",
            (
                _picture(),
                Argument(
                    "background",
                    "Background",
                    "What is to be seen there.",
                    required=True,
                    suggestions=_PLACES,
                ),
                Argument(
                    "how",
                    "How",
                    "swap (as a rule) replaces the background, extend adds to it at the edges.",
                    choices=(SWAP, EXTEND),
                ),
                Argument(
                    "aspect_ratio",
                    "Shape",
                    f"The shape of the result; for extend {WIDE} without it.",
                    choices=get_args(Ratio),
                ),
                _subject("What stays, say the dog; without it, the main subject."),
                _tier(),
            ),
            instructions.change_background,
        ),
        Recipe(
            "edit_text",
            "Edit text in the picture",
            "Other words on a sign, a label or a cover, in the same lettering.",
            (
                _picture(),
                Argument("old", "Text now", "The text as it stands there, letter by letter.", required=True),
                Argument("new", "New text", "What it is to say.", required=True),
                Argument("where", "Where", "What it is written on, say the shop sign."),
                _tier("The tier to edit with; max for small or stylised letters."),
            ),
            instructions.edit_text,
        ),
        Recipe(
            "combine_pictures",
            "Combine several pictures",
            "A person from one picture in the place of another, say; up to four pictures.",
            (
                _picture("first", "First picture"),
                _picture("second", "Second picture"),
                Argument(
                    "instruction",
                    "Instruction",
                    "What goes where, simply: Put the cat from the first picture on the sofa of the second.",
                    required=True,
                ),
                _picture("third", "Third picture", required=False),
                _picture("fourth", "Fourth picture", required=False),
                _tier(),
            ),
            instructions.combine_pictures,
        ),
        Recipe(
            "restyle",
            "Restyle a picture",
            "The same picture as a painting, a sketch or an old photograph.",
            (
                _picture(),
                Argument("style", "Style", "What it is to look like.", required=True, suggestions=_STYLES),
                Argument("keep", "What stays", "What must stay, where that is not all of the composition."),
                _tier(),
            ),
            instructions.restyle,
        ),
        Recipe(
            "same_subject",
            "The same subject over several frames",
            "One subject in several scenes, from one source and with one seed, so that it stays itself.",
            (
                _picture(),
                _subject("Who or what stays the same, say the boy in the yellow raincoat.", required=True),
                Argument(
                    "scenes",
                    "Scenes",
                    f"Up to {MOST_SCENES} scenes, separated by semicolons: walking a dog; reading in a café.",
                    required=True,
                    scenes=True,
                ),
                Argument(
                    "seed",
                    "Seed",
                    f"The number that all frames share; {SEED} without it.",
                    suggestions=(str(SEED),),
                    between=(0, flat_parameter("seed")["maximum"]),
                ),
                _tier("The tier to edit with; max keeps a subject best."),
            ),
            instructions.same_subject,
        ),
        Recipe(
            "draft_and_finish",
            "Draft cheaply, finish on Max",
            "Some drafts on Dev in fast mode, and the one that is chosen made well.",
            (
                _picture(),
                Argument("change", "Change", "The edit: name the subject and the change.", required=True),
                Argument(
                    "drafts",
                    "Drafts",
                    f"How many to choose from, 1 to 4; {DRAFTS} without it.",
                    suggestions=("1", "2", "3", "4"),
                    between=(1, flat_parameter("num_images")["maximum"]),
                ),
                _tier("The tier to finish with; max without it."),
            ),
            instructions.draft_and_finish,
            tier=Max.tier,
        ),
    )
}
"""The recipes by name, as clients list them."""
