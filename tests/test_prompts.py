"""The prompts as a person picks them in a client, and what an assistant is told by them."""

import json
import re
from typing import Any, get_args

import mcp_types as types
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mcp.client.client import Client
from mcp.shared.exceptions import MCPError
from tests.at_home import ERAS, Era, at_home, edited
from tests.clock import FakeClock
from tests.house import Api

from kontext_edit.prompts import written
from kontext_edit.recipes.book import RECIPES
from kontext_edit.recipes.recipe import Argument, Recipe
from kontext_edit.request import parse_edit, parse_edits, parse_estimate
from kontext_edit.tiers import TIERS, Ratio

eras = pytest.mark.parametrize("era", ERAS)
every_tier = pytest.mark.parametrize("tier", TIERS)

Call = tuple[str, dict[str, Any]]

FILLED: dict[str, dict[str, str]] = {
    "change_look": {"picture": "a.png", "what": "jacket", "to": "red leather"},
    "change_background": {"picture": "a.png", "background": "a beach"},
    "edit_text": {"picture": "a.png", "old": "OPEN", "new": "CLOSED", "where": "the sign"},
    "combine_pictures": {"first": "a.png", "second": "b.png", "instruction": "Put the cat on the sofa"},
    "restyle": {"picture": "a.png", "style": "a pencil sketch"},
    "same_subject": {"picture": "a.png", "subject": "the boy", "scenes": "on a bicycle; in a café.\nat sea;"},
    "draft_and_finish": {"picture": "a.png", "change": "Change the sky to night"},
}
"""What a person may fill in for each prompt."""


def calls(text: str) -> list[Call]:
    """The calls that an instruction spells out."""
    found = re.findall(r"Call `(\w+)` with exactly:\n\n```json\n(.*?)\n```", text, flags=re.DOTALL)
    return [(tool, json.loads(arguments)) for tool, arguments in found]


def wording(name: str, **more: str) -> list[Call]:
    return calls(written(RECIPES[name], FILLED[name] | more, "pro"))


def check(call: Call) -> None:
    """What the tool itself makes of a call."""
    tool, arguments = call
    if tool == "estimate_cost":
        parse_estimate(arguments)
    elif "prompts" in arguments:
        parse_edits(arguments, "pro")
    else:
        parse_edit(arguments, "pro")


async def prompt(client: Client, name: str, **arguments: str) -> str:
    (message,) = (await client.get_prompt(name, arguments)).messages
    assert message.role == "user"
    assert isinstance(message.content, types.TextContent)
    return message.content.text


@eras
async def test_every_prompt_is_listed_with_titles_and_with_what_it_needs(
    environ: dict[str, str], clock: FakeClock, era: Era
) -> None:
    async with at_home(environ, Api(clock), clock, era) as client:
        listed = (await client.list_prompts()).prompts
    assert [each.name for each in listed] == list(FILLED)
    for each in listed:
        assert each.title
        assert each.description
        assert each.arguments
        assert all(argument.title and argument.description for argument in each.arguments)
        required = {argument.name for argument in each.arguments if argument.required}
        assert required <= FILLED[each.name].keys()


@eras
async def test_a_prompt_becomes_a_message_that_spells_out_the_call(
    environ: dict[str, str], clock: FakeClock, era: Era
) -> None:
    async with at_home(environ, Api(clock), clock, era) as client:
        text = await prompt(client, "edit_text", **FILLED["edit_text"], tier="")
    ((tool, arguments),) = calls(text)
    assert tool == "edit_image"
    assert arguments["tier"] == "pro"
    assert arguments["images"] == ["a.png"]
    assert arguments["prompt"].startswith(
        "Change the text on the sign from 'OPEN' to 'CLOSED'. Keep its font"
    )


@eras
async def test_a_prompt_without_a_tier_uses_the_persons_own(
    environ: dict[str, str], clock: FakeClock, era: Era
) -> None:
    async with at_home(environ, Api(clock), clock, era, KONTEXT_DEFAULT_TIER="dev") as client:
        text = await prompt(client, "restyle", **FILLED["restyle"])
    ((_, arguments),) = calls(text)
    assert arguments["tier"] == "dev"


@eras
async def test_prompts_are_written_whatever_the_settings_are(
    environ: dict[str, str], clock: FakeClock, era: Era
) -> None:
    async with at_home(environ, Api(clock), clock, era, KONTEXT_DEFAULT_TIER="ultra") as client:
        text = await prompt(client, "restyle", **FILLED["restyle"])
    ((_, arguments),) = calls(text)
    assert arguments["tier"] == "pro"


@eras
@pytest.mark.parametrize(
    "case",
    [
        ("paint", {}, "There is no prompt 'paint'; there are change_look, change_background"),
        ("change_look", {"picture": " "}, "`picture` is missing: A source as edit_image takes it"),
        ("change_look", {"picture": "a.png"}, "`what` is missing: The garment or hair, say jacket. `to` is"),
        ("restyle", {"mood": "dark"}, "There is no argument 'mood'; there are picture, style, keep, tier."),
        ("restyle", {"tier": "ultra"}, "`tier` must be one of dev, pro, max; got 'ultra'."),
        ("draft_and_finish", {"drafts": "5"}, "`drafts` must be a whole number from 1 to 4; got '5'."),
        ("same_subject", {"seed": "-1"}, "`seed` must be a whole number from 0 to 2147483647; got '-1'."),
        ("same_subject", {"scenes": " ; . "}, "`scenes` must be 1 to 20 scenes"),
        ("same_subject", {"scenes": "a;" * 21}, "`scenes` must be 1 to 20 scenes"),
        ("change_background", {"how": "blur"}, "`how` must be one of swap, extend; got 'blur'."),
    ],
)
async def test_a_prompt_that_cannot_be_written_says_everything_it_needs(
    environ: dict[str, str], clock: FakeClock, era: Era, case: tuple[str, dict[str, str], str]
) -> None:
    name, arguments, said = case
    async with at_home(environ, Api(clock), clock, era) as client:
        with pytest.raises(MCPError) as caught:
            await client.get_prompt(name, arguments)
    assert caught.value.code == types.INVALID_PARAMS
    assert said in caught.value.message


@eras
async def test_what_a_prompt_spells_out_can_be_carried_out(
    environ: dict[str, str], clock: FakeClock, era: Era
) -> None:
    api = Api(clock)
    async with at_home(environ, api, clock, era) as client:
        source = f"task:{(await edited(client, environ))['task_id']}"
        text = await prompt(client, "same_subject", **FILLED["same_subject"] | {"picture": source})
        (estimate, edit) = calls(text)
        priced = await client.call_tool(*estimate)
        result = await client.call_tool(*edit)
    assert priced.structured_content["estimates"][0]["total_usd"] == "0.108"
    assert not result.is_error
    assert [body["seed"] for body in api.bodies[1:]] == [42, 42, 42]
    assert len({body["images"][0] for body in api.bodies[1:]}) == 1


@every_tier
@pytest.mark.parametrize("name", FILLED)
def test_every_call_that_a_prompt_spells_out_is_valid_on_every_tier(name: str, tier: str) -> None:
    for call in wording(name, tier=tier):
        check(call)


@every_tier
@pytest.mark.parametrize("shape", get_args(Ratio))
def test_an_extended_picture_gets_its_shape_in_the_way_of_the_tier(tier: str, shape: str) -> None:
    ((_, arguments),) = wording("change_background", how="extend", aspect_ratio=shape, tier=tier)
    check(("edit_image", arguments))
    assert arguments["prompt"].startswith("Extend the background")
    assert ("size" in arguments) is (tier == "dev")
    if tier == "dev":
        width, height = map(int, arguments["size"].split("*"))
        across, down = map(int, shape.split(":"))
        assert width / height == pytest.approx(across / down, rel=0.06)
    else:
        assert arguments["aspect_ratio"] == shape


def test_a_background_is_swapped_in_the_pictures_own_shape_and_extended_to_a_wide_one() -> None:
    ((_, swapped),) = wording("change_background")
    ((_, extended),) = wording("change_background", how="extend")
    assert "aspect_ratio" not in swapped
    assert extended["aspect_ratio"] == "16:9"


def test_frames_share_source_and_seed_and_are_priced_before_they_are_bought() -> None:
    (first, estimate), (second, edit) = wording("same_subject", seed="7")
    assert (first, second) == ("estimate_cost", "edit_image")
    assert estimate == {"tier": "pro", "edits": 3}
    assert (edit["seed"], edit["images"]) == (7, ["a.png"])
    assert [text.partition(". ")[0] for text in edit["prompts"]] == [
        "Change the scene: the boy, on a bicycle",
        "Change the scene: the boy, in a café",
        "Change the scene: the boy, at sea",
    ]
    assert all("of the boy exactly the same" in text for text in edit["prompts"])


def test_drafts_are_made_on_dev_fast_and_the_chosen_one_is_finished_on_max() -> None:
    *estimates, (_, drafts), (_, finish) = wording("draft_and_finish", drafts="3")
    shape = {"tier": "dev", "fast_mode": True, "num_images": 3}
    assert estimates == [("estimate_cost", shape), ("estimate_cost", {"tier": "max"})]
    assert drafts.items() >= shape.items()
    assert drafts["prompt"].startswith("Change the sky to night. Keep")
    assert finish["tier"] == "max"
    assert finish["images"][0].startswith("task:<task_id of the drafts>#")


def test_up_to_four_pictures_are_combined_in_their_order() -> None:
    ((_, three),) = wording("combine_pictures", fourth="d.png")
    assert three["images"] == ["a.png", "b.png", "d.png"]
    ((_, on_dev),) = wording("combine_pictures", tier="dev")
    assert on_dev["num_inference_steps"] == 32


def test_a_quoted_text_with_an_apostrophe_is_still_one_text() -> None:
    ((_, arguments),) = wording("edit_text", old="JOE'S", new="Ann's")
    assert "from “JOE'S” to “Ann's”" in arguments["prompt"]


@pytest.mark.parametrize("name", FILLED)
def test_every_edit_names_what_must_stay(name: str) -> None:
    edits = [arguments for tool, arguments in wording(name) if tool == "edit_image"]
    assert edits
    for edit in edits:
        assert all("Keep " in text for text in edit.get("prompts", [edit.get("prompt")]))


def values(argument: Argument) -> st.SearchStrategy[str]:
    if argument.choices:
        return st.sampled_from(argument.choices)
    return st.integers(*argument.between).map(str) if argument.between else st.text(max_size=60)


def filled(recipe: Recipe) -> st.SearchStrategy[tuple[Recipe, dict[str, str]]]:
    given = {argument.name: values(argument) for argument in recipe.arguments}
    return st.tuples(st.just(recipe), st.fixed_dictionaries({}, optional=given))


@given(st.sampled_from(list(RECIPES.values())).flatmap(filled))
def test_whatever_is_filled_in_gives_valid_calls_or_says_what_is_needed(
    case: tuple[Recipe, dict[str, str]],
) -> None:
    recipe, arguments = case
    try:
        text = written(recipe, arguments, "pro")
    except MCPError as error:
        said = error.message
        assert "is missing" in said or "must be" in said
    else:
        for call in calls(text):
            check(call)


@eras
async def test_a_picture_completes_to_the_latest_results_and_a_tier_to_its_names(
    environ: dict[str, str], clock: FakeClock, era: Era
) -> None:
    async with at_home(environ, Api(clock), clock, era) as client:
        await edited(client, environ, tier="dev", num_images=2)
        await edited(client, environ, prompt="Make it green")
        ref = types.PromptReference(name="restyle")

        async def offered(argument: str, typed: str) -> list[str]:
            answer = await client.complete(ref, {"name": argument, "value": typed})
            return answer.completion.values

        assert await offered("picture", "") == ["last", "clipboard", "task:t-2", "task:t-1", "task:t-1#2"]
        assert await offered("picture", "task:t-1") == ["task:t-1", "task:t-1#2"]
        assert await offered("tier", "") == ["dev", "pro", "max"]
        assert await offered("tier", "M") == ["max"]
        assert await offered("style", "a p") == ["a pencil sketch", "a pixel art scene"]
        assert await offered("keep", "") == []


@eras
async def test_ids_complete_latest_first_and_numbers_to_those_of_the_task(
    environ: dict[str, str], clock: FakeClock, era: Era
) -> None:
    api = Api(clock)
    task = types.ResourceTemplateReference(uri="kontext://tasks/{id}")
    picture = types.ResourceTemplateReference(uri="kontext://pictures/{id}/{n}")
    async with at_home(environ, api, clock, era) as client:
        await edited(client, environ, tier="dev", num_images=3)
        api.seconds = 1000
        await client.call_tool("edit_image", {"prompt": "Green", "images": ["task:t-1"], "wait_seconds": 1})
        ids = await client.complete(task, {"name": "id", "value": "t-"})
        with_pictures = await client.complete(picture, {"name": "id", "value": ""})
        numbers = await client.complete(picture, {"name": "n", "value": ""}, context_arguments={"id": "t-1"})
        nobody = await client.complete(picture, {"name": "n", "value": ""}, context_arguments={"id": "t-9"})
        nothing = await client.complete(picture, {"name": "n", "value": ""})
    assert ids.completion.values == ["t-2", "t-1"]
    assert (ids.completion.total, ids.completion.has_more) == (2, False)
    assert with_pictures.completion.values == ["t-1"]
    assert numbers.completion.values == ["1", "2", "3"]
    assert nobody.completion.values == nothing.completion.values == []


@eras
@pytest.mark.parametrize(
    "case",
    [
        (types.PromptReference(name="paint"), "picture", "There is no prompt 'paint'"),
        (
            types.PromptReference(name="restyle"),
            "mood",
            "There is no argument 'mood' here; there are picture",
        ),
        (types.ResourceTemplateReference(uri="kontext://tasks/{id}"), "n", "there are id."),
        (types.ResourceTemplateReference(uri="kontext://x/{id}"), "id", "There is no template"),
    ],
)
async def test_what_cannot_be_completed_is_refused_with_what_can(
    environ: dict[str, str],
    clock: FakeClock,
    era: Era,
    case: tuple[types.PromptReference | types.ResourceTemplateReference, str, str],
) -> None:
    ref, argument, said = case
    async with at_home(environ, Api(clock), clock, era) as client:
        with pytest.raises(MCPError) as caught:
            await client.complete(ref, {"name": argument, "value": ""})
    assert caught.value.code == types.INVALID_PARAMS
    assert said in caught.value.message


@eras
async def test_completing_with_unusable_settings_says_what_is_wrong_with_them(
    environ: dict[str, str], clock: FakeClock, era: Era
) -> None:
    ref = types.PromptReference(name="restyle")
    async with at_home(environ, Api(clock), clock, era, KONTEXT_DEFAULT_TIER="ultra") as client:
        with pytest.raises(MCPError, match="KONTEXT_DEFAULT_TIER"):
            await client.complete(ref, {"name": "picture", "value": ""})
        tiers = await client.complete(ref, {"name": "tier", "value": "p"})
    assert tiers.completion.values == ["pro"]
