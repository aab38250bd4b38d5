"""What a call's arguments are made into: a request, or every problem at once, worded for an assistant."""

import json
from collections.abc import Callable
from typing import Any, TypeVar

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import MISSING

from kontext_edit.errors import InvalidArguments
from kontext_edit.request import (
    DEFAULT_WAIT_SECONDS,
    EditCall,
    EditOptions,
    EstimateCall,
    TaskCall,
    parse_edit,
    parse_estimate,
    parse_task,
)
from kontext_edit.schema import all_parameters
from kontext_edit.tiers import TIERS

CALL: dict[str, Any] = {"prompt": "Make the cup blue", "images": ["cup.png"]}

NO_PROMPT = (
    '`prompt` is missing: say what to change, for example "Change the jacket to red leather, keep the face".'
)
EMPTY_PROMPT = NO_PROMPT.replace("missing", "empty")
NO_IMAGES = "`images` is missing: name 1 to 4 pictures to edit."
EMPTY_IMAGES = NO_IMAGES.replace("missing", "empty")
ADVICE = (
    "Kontext edits pictures that exist. To make one from text alone is text-to-image, which this server does "
    "not do; on Novita the models for that are FLUX.1 [dev] and FLUX.1 [schnell]. A picture in the "
    "chat cannot be seen here: ask for its path, or to copy it (clipboard)."
)
PROMPT_RULE = "`prompt` must be text: name the subject, the change, and what must stay the same; got "
IMAGES_RULE = "`images` must be a list of 1 to 4 sources; got "
TIER_RULE = '`tier` must be one of "dev", "pro", "max"; got '
WAIT_RULE = "`wait_seconds` must be a number from 0 to 50; got "
SIZE_RULE = "`size` must be text: width*height in pixels, each 256-1536; got "
SEED_RULE = "`seed` must be a whole number from -1 to 2147483647; got "
GUIDANCE_RULE = "`guidance_scale` must be a number from 1 to 20; got "
RATIO_RULE = (
    '`aspect_ratio` must be one of "1:1", "16:9", "4:3", "3:2", "2:3", "3:4", "9:16", "9:21", "21:9"; got '
)
SAFETY_RULE = '`safety_tolerance` must be one of "1", "2", "3", "4", "5"; got '
KNOWN_TO_PRO = "Known are " + ", ".join(
    [
        "prompt",
        "images",
        "guidance_scale",
        "aspect_ratio",
        "seed",
        "safety_tolerance",
        *EditOptions.model_fields,
    ]
)


UNWRITABLE = "{}, which cannot be sent or written down: leave it out."


def only_dev(name: str, tier: str) -> str:
    return f"`{name}` is a parameter of dev, not of {tier}: leave it out, or set `tier` to dev."


def not_dev(name: str) -> str:
    return f"`{name}` is a parameter of pro and max, not of dev: leave it out, or set `tier` to pro or max."


BAD_EDITS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "nothing at all": ({"prompt": None, "images": None}, [NO_PROMPT, NO_IMAGES]),
    "no prompt": ({"prompt": None}, [NO_PROMPT]),
    "an empty prompt": ({"prompt": ""}, [EMPTY_PROMPT]),
    "a blank prompt": ({"prompt": " \n\t\u3000"}, [EMPTY_PROMPT]),
    "a number for a prompt": ({"prompt": 5}, [PROMPT_RULE + "5."]),
    "a list for a prompt": ({"prompt": ["red"]}, [PROMPT_RULE + "['red']."]),
    "half a character in a prompt": (
        {"prompt": "red \ud83d"},
        [UNWRITABLE.format("`prompt` has half of a character (a lone surrogate) in 'red \\ud83d'")],
    ),
    "a NUL in a prompt": (
        {"prompt": "red\0blue", "seed": -2},
        [UNWRITABLE.format("`prompt` has a NUL character in 'red\\x00blue'"), SEED_RULE + "-2."],
    ),
    "half a character in one of several prompts": (
        {"prompts": ["red", "\udfff blue", "\0"]},
        [UNWRITABLE.format("`prompts` has half of a character (a lone surrogate) in '\\udfff blue'")],
    ),
    "a NUL in one of several prompts": (
        {"prompts": ["red", "\0"]},
        [UNWRITABLE.format("`prompts` has a NUL character in '\\x00'")],
    ),
    "no images": ({"images": None}, [NO_IMAGES]),
    "an empty list of images": ({"images": []}, [EMPTY_IMAGES]),
    "one image outside a list": ({"images": "cup.png"}, [IMAGES_RULE + "'cup.png'."]),
    "five images": ({"images": list("abcde")}, [IMAGES_RULE + "['a', 'b', 'c', 'd', 'e']."]),
    "a number among the images": ({"images": ["a", 1]}, [IMAGES_RULE + "['a', 1]."]),
    "several wrong images": ({"images": [1, 2, None]}, [IMAGES_RULE + "[1, 2, None]."]),
    "images in an object": ({"images": {"path": "a"}}, [IMAGES_RULE + "{'path': 'a'}."]),
    "an unknown tier": ({"tier": "ultra"}, [TIER_RULE + "'ultra'."]),
    "a tier in capitals": ({"tier": "Pro"}, [TIER_RULE + "'Pro'."]),
    "an empty tier": ({"tier": ""}, [TIER_RULE + "''."]),
    "a number for a tier": ({"tier": 0}, [TIER_RULE + "0."]),
    "false for a tier": ({"tier": False}, [TIER_RULE + "False."]),
    "a list for a tier": ({"tier": ["pro"]}, [TIER_RULE + "['pro']."]),
    "an object for a tier": ({"tier": {}}, [TIER_RULE + "{}."]),
    "a negative wait": ({"wait_seconds": -1}, [WAIT_RULE + "-1."]),
    "a wait beyond what clients bear": ({"wait_seconds": 50.5}, [WAIT_RULE + "50.5."]),
    "a wait in words": ({"wait_seconds": "40"}, [WAIT_RULE + "'40'."]),
    "a wait that is no number": ({"wait_seconds": float("nan")}, [WAIT_RULE + "nan."]),
    "true for a wait": ({"wait_seconds": True}, [WAIT_RULE + "True."]),
    "a size with an x": ({"tier": "dev", "size": "1024x1024"}, [SIZE_RULE + "'1024x1024'."]),
    "a size too small": ({"tier": "dev", "size": "255*256"}, [SIZE_RULE + "'255*256'."]),
    "a size with a line's end": ({"tier": "dev", "size": "256*256\n"}, [SIZE_RULE + r"'256*256\n'."]),
    "too many steps": (
        {"tier": "dev", "num_inference_steps": 51},
        ["`num_inference_steps` must be a whole number from 1 to 50; got 51."],
    ),
    "half an image": (
        {"tier": "dev", "num_images": 1.5},
        ["`num_images` must be a whole number from 1 to 4; got 1.5."],
    ),
    "an unknown format": (
        {"tier": "dev", "output_format": "gif"},
        ['`output_format` must be one of "jpeg", "png", "webp"; got \'gif\'.'],
    ),
    "a word for fast mode": (
        {"tier": "dev", "fast_mode": "yes"},
        ["`fast_mode` must be true or false; got 'yes'."],
    ),
    "a seed below": ({"seed": -2}, [SEED_RULE + "-2."]),
    "a seed above": ({"seed": 2147483648}, [SEED_RULE + "2147483648."]),
    "a seed in words": ({"tier": "max", "seed": "7"}, [SEED_RULE + "'7'."]),
    "no guidance": ({"guidance_scale": 0.5}, [GUIDANCE_RULE + "0.5."]),
    "a ratio that is not offered": ({"aspect_ratio": "5:4"}, [RATIO_RULE + "'5:4'."]),
    "a tolerance as a number": ({"safety_tolerance": 2}, [SAFETY_RULE + "2."]),
    "a tolerance above": ({"tier": "max", "safety_tolerance": "6"}, [SAFETY_RULE + "'6'."]),
    "dev's parameter on pro": ({"size": "512*512"}, [only_dev("size", "pro")]),
    "dev's parameters on max": (
        {"tier": "max", "fast_mode": True, "num_images": 2},
        [only_dev("fast_mode", "max"), only_dev("num_images", "max")],
    ),
    "pro's parameters on dev": (
        {"tier": "dev", "aspect_ratio": "1:1", "safety_tolerance": "2"},
        [not_dev("aspect_ratio"), not_dev("safety_tolerance")],
    ),
    "another tier's parameter with another fault": (
        {"fast_mode": "yes", "seed": -5},
        [only_dev("fast_mode", "pro"), SEED_RULE + "-5."],
    ),
    "a misspelt parameter": (
        {"aspekt_ratio": "1:1"},
        ["There is no parameter 'aspekt_ratio'. Did you mean `aspect_ratio`?"],
    ),
    "a misspelt parameter of another tier": (
        {"num_image": 2},
        ["There is no parameter 'num_image'. Did you mean `num_images`?"],
    ),
    "a misspelt tier": ({"teir": "dev"}, ["There is no parameter 'teir'. Did you mean `tier`?"]),
    "a misspelt wait": (
        {"wait_second": 3},
        ["There is no parameter 'wait_second'. Did you mean `wait_seconds`?"],
    ),
    "a parameter like no other": ({"xyz": 1}, [f"There is no parameter 'xyz'. {KNOWN_TO_PRO}."]),
    "an empty name": ({"": 1}, [f"There is no parameter ''. {KNOWN_TO_PRO}."]),
    "control characters in a name": (
        {"a\n\x1b[31m": 1},
        [rf"There is no parameter 'a\n\x1b[31m'. {KNOWN_TO_PRO}."],
    ),
    "control characters in a value": ({"tier": "\x1b[31mpro\n"}, [TIER_RULE + r"'\x1b[31mpro\n'."]),
    "a very long name": (
        {"q" * 1000: 1},
        [f"There is no parameter '{'q' * 59}…. {KNOWN_TO_PRO}."],
    ),
    "a very long value": ({"seed": "9" * 1000}, [f"{SEED_RULE}'{'9' * 59}…."]),
    "a picture for a ratio": (
        {"aspect_ratio": "data:image/png;base64," + "A" * 100_000},
        [f"{RATIO_RULE}'data:image/png;base64,{'A' * 37}…."],
    ),
    "an unknown tier and all that can be told without one": (
        {"tier": "ultra", "prompt": "", "images": None, "sead": 1, "size": "512*512"},
        [
            TIER_RULE + "'ultra'.",
            EMPTY_PROMPT,
            NO_IMAGES,
            "There is no parameter 'sead'. Did you mean `seed`?",
        ],
    ),
    "everything at once": (
        {
            "tier": "dev",
            "prompt": " ",
            "images": [],
            "wait_seconds": 99,
            "seed": -2,
            "size": "1*1",
            "aspect_ratio": "1:1",
            "guidance": 3,
        },
        [
            WAIT_RULE + "99.",
            not_dev("aspect_ratio"),
            "There is no parameter 'guidance'. Did you mean `guidance_scale`?",
            EMPTY_PROMPT,
            EMPTY_IMAGES,
            SIZE_RULE + "'1*1'.",
            SEED_RULE + "-2.",
        ],
    ),
}


def refused(parse: Callable[[], object]) -> InvalidArguments:
    with pytest.raises(InvalidArguments) as caught:
        parse()
    return caught.value


@pytest.mark.parametrize(("changes", "problems"), BAD_EDITS.values(), ids=BAD_EDITS)
def test_a_bad_edit_is_refused_with_every_problem_in_one_reply(
    changes: dict[str, Any], problems: list[str]
) -> None:
    error = refused(lambda: parse_edit(CALL | changes, "pro"))
    assert error.problems == problems
    assert error.message == " ".join(problems)
    assert error.hint == (ADVICE if any("`images` is" in problem for problem in problems) else "")


@pytest.mark.parametrize("images", [None, []])
@pytest.mark.parametrize("tier", ["dev", "pro", "max", "ultra"])
def test_an_edit_of_nothing_gets_the_advice_that_this_is_text_to_image(tier: str, images: object) -> None:
    assert refused(lambda: parse_edit(CALL | {"images": images, "tier": tier}, "pro")).hint == ADVICE


BAD_TASKS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "nothing": ({}, ["`task_id` is missing: it is in the result of edit_image."]),
    "null": ({"task_id": None}, ["`task_id` is missing: it is in the result of edit_image."]),
    "an empty id": ({"task_id": ""}, ["`task_id` is empty: it is in the result of edit_image."]),
    "a blank id": ({"task_id": " \n"}, ["`task_id` is empty: it is in the result of edit_image."]),
    "a number": ({"task_id": 7}, ["`task_id` must be text; got 7."]),
    "a list": ({"task_id": ["a"]}, ["`task_id` must be text; got ['a']."]),
    "a wait too long": ({"task_id": "a", "wait_seconds": 51}, [WAIT_RULE + "51."]),
    "a misspelt id": (
        {"taskid": "a"},
        [
            "There is no parameter 'taskid'. Did you mean `task_id`?",
            "`task_id` is missing: it is in the result of edit_image.",
        ],
    ),
    "a parameter of edit_image": (
        {"task_id": "a", "prompt": "red"},
        ["There is no parameter 'prompt'. Known are task_id, wait_seconds."],
    ),
}


@pytest.mark.parametrize(("arguments", "problems"), BAD_TASKS.values(), ids=BAD_TASKS)
def test_a_bad_question_about_a_task_is_refused(arguments: dict[str, Any], problems: list[str]) -> None:
    assert refused(lambda: parse_task(arguments)).problems == problems


EDITS_RULE = "`edits` must be a whole number from 1 to 1000000; got "
BAD_ESTIMATES: dict[str, tuple[dict[str, Any], list[str]]] = {
    "an unknown tier": ({"tier": "ultra"}, [TIER_RULE + "'ultra'."]),
    "an empty tier": ({"tier": ""}, [TIER_RULE + "''."]),
    "a tier in a list": ({"tier": ["dev"]}, [TIER_RULE + "['dev']."]),
    "no edits": ({"edits": 0}, [EDITS_RULE + "0."]),
    "too many edits": ({"edits": 1_000_001}, [EDITS_RULE + "1000001."]),
    "half an edit": ({"edits": 0.5}, [EDITS_RULE + "0.5."]),
    "five images": ({"num_images": 5}, ["`num_images` must be a whole number from 1 to 4; got 5."]),
    "a word for fast mode": ({"fast_mode": "no"}, ["`fast_mode` must be true or false; got 'no'."]),
    "fast mode of pro": ({"tier": "pro", "fast_mode": True}, [only_dev("fast_mode", "pro")]),
    "variants of max": ({"tier": "max", "num_images": 2}, [only_dev("num_images", "max")]),
    "several problems": (
        {"tier": "pro", "num_images": 2, "fast_mode": True, "edits": 0},
        [EDITS_RULE + "0.", only_dev("num_images", "pro"), only_dev("fast_mode", "pro")],
    ),
    "a misspelt parameter": ({"edit": 3}, ["There is no parameter 'edit'. Did you mean `edits`?"]),
    "a parameter that costs nothing": (
        {"tier": "dev", "seed": 1},
        ["There is no parameter 'seed'. Known are tier, fast_mode, num_images, edits."],
    ),
}


@pytest.mark.parametrize(("arguments", "problems"), BAD_ESTIMATES.values(), ids=BAD_ESTIMATES)
def test_a_bad_estimate_is_refused(arguments: dict[str, Any], problems: list[str]) -> None:
    assert refused(lambda: parse_estimate(arguments)).problems == problems


def test_an_edit_without_a_tier_goes_to_the_default() -> None:
    assert parse_edit(CALL, "max").edit.tier == "max"
    assert parse_edit(CALL | {"tier": None}, "max").edit.tier == "max"
    assert parse_edit(CALL | {"tier": "dev"}, "max").edit.tier == "dev"


def test_a_wait_is_what_was_asked_for_or_the_usual() -> None:
    assert parse_edit(CALL, "pro").wait_seconds == DEFAULT_WAIT_SECONDS == 40
    assert parse_edit(CALL | {"wait_seconds": None}, "pro").wait_seconds == 40
    assert [parse_edit(CALL | {"wait_seconds": wait}, "pro").wait_seconds for wait in (0, 2.5, 50)] == [
        0,
        2.5,
        50,
    ]
    assert parse_task({"task_id": "a", "wait_seconds": 0}) == TaskCall(task_id="a", wait_seconds=0)


def test_null_for_everything_that_may_be_left_out_is_as_if_it_were_left_out() -> None:
    """Many models fill what they do not use with null, another tier's parameters too."""
    nulls = dict.fromkeys([*all_parameters(), *EditOptions.model_fields, "unheard_of"])
    assert parse_edit(nulls | CALL, "pro") == parse_edit(CALL, "pro")
    assert (
        parse_estimate({"tier": None, "fast_mode": None, "num_images": None, "edits": None}) == EstimateCall()
    )


def test_an_estimate_without_a_tier_or_a_mode_leaves_them_open() -> None:
    call = parse_estimate({"num_images": 4, "edits": 10})
    assert call.tier is MISSING
    assert call.fast_mode is MISSING
    assert (call.num_images, call.edits) == (4, 10)


def test_an_estimate_takes_what_moves_the_price() -> None:
    call = parse_estimate({"tier": "dev", "fast_mode": True, "num_images": 4, "edits": 1_000_000})
    assert call == EstimateCall(tier="dev", fast_mode=True, num_images=4, edits=1_000_000)


def test_arguments_are_left_as_they_were() -> None:
    arguments = CALL | {"tier": "dev", "seed": None, "wait_seconds": 3}
    before = json.dumps(arguments)
    parse_edit(arguments, "pro")
    assert json.dumps(arguments) == before


SAFETY_WARNING = "safety_tolerance has no effect on an edit; it acts in text-to-image only."
LONG_WARNING = "The prompt is long: the model reads about 512 tokens and cuts the rest."


@pytest.mark.parametrize("tier", ["pro", "max"])
def test_a_safety_tolerance_that_was_chosen_gets_a_warning(tier: str) -> None:
    assert parse_edit(CALL | {"tier": tier, "safety_tolerance": "2"}, "pro").warnings == (SAFETY_WARNING,)
    assert parse_edit(CALL | {"tier": tier, "safety_tolerance": None}, "pro").warnings == ()


def test_a_prompt_that_the_model_would_cut_gets_a_warning() -> None:
    assert parse_edit(CALL | {"prompt": "x" * 2048}, "pro").warnings == ()
    assert parse_edit(CALL | {"prompt": "x" * 2049}, "pro").warnings == (LONG_WARNING,)
    both = CALL | {"prompt": "x" * 2049, "safety_tolerance": "5"}
    assert parse_edit(both, "pro").warnings == (SAFETY_WARNING, LONG_WARNING)


NAMES = st.sampled_from([*all_parameters(), *EditOptions.model_fields, "task_id", "edits", "sead"]) | st.text(
    st.characters(), max_size=20
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(), max_size=20)
    | st.sampled_from([*TIERS, "1", "1:1", "png", "512*512", "a.png", 1, 2.5])
)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(NAMES, JSON, max_size=8)


@given(arguments=OBJECTS, default_tier=st.sampled_from(list(TIERS)), whole=st.booleans())
@example(arguments={"tier": "\ud800", "\ud800": "\ud800"}, default_tier="pro", whole=True)
def test_any_arguments_are_an_edit_of_exactly_these_or_every_problem(
    *, arguments: dict[str, Any], default_tier: str, whole: bool
) -> None:
    arguments = arguments | (CALL if whole else {})
    call = made(lambda: parse_edit(arguments, default_tier))
    if isinstance(call, EditCall):
        given = {name: value for name, value in arguments.items() if value is not None}
        apart = {name: given[name] for name in EditOptions.model_fields if name in given}
        assert call.edit.body(["data:,"]) | apart == given | {"images": ["data:,"]}


@given(OBJECTS)
def test_any_arguments_are_a_question_about_a_task_or_every_problem(arguments: dict[str, Any]) -> None:
    made(lambda: parse_task(arguments))


@given(OBJECTS)
def test_any_arguments_are_an_estimate_or_every_problem(arguments: dict[str, Any]) -> None:
    made(lambda: parse_estimate(arguments))


Made = TypeVar("Made")


def made(parse: Callable[[], Made]) -> Made | None:
    """The call, or None for an error whose text is short, plain and fit to be sent."""
    try:
        return parse()
    except InvalidArguments as error:
        problems = error.problems
    assert problems
    for problem in problems:
        assert len(problem) < 300
        assert problem.isprintable()
    return None
