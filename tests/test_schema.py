"""The flat schema that a model reads: one plain object, never narrower than the spec."""

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from pydantic import MISSING, BaseModel, Field
from tests.facts import Parameter, parameters, tiers

from kontext_edit.request import EditOptions
from kontext_edit.schema import (
    all_parameters,
    flat_parameter,
    markdown_table,
    parameter_rows,
    properties,
    rule_sentence,
)
from kontext_edit.tiers import DEFAULT_TIER, TIERS, Kontext, Ratio, owners
from kontext_edit.tools import make_tools

COMBINATORS = {"anyOf", "oneOf", "allOf", "not", "if", "then", "else", "$ref", "$defs", "definitions"}
"""What makes the Anthropic API refuse a request, and some clients drop a tool."""

TOOLS = make_tools(DEFAULT_TIER)
SCHEMAS: dict[str, dict[str, Any]] = {
    f"{name} {side}": schema or {}
    for name, tool in TOOLS.items()
    for side, schema in (
        ("input", tool.definition.input_schema),
        ("output", tool.definition.output_schema),
    )
}
FLAT = TOOLS["edit_image"].definition.input_schema


def keys(schema: object) -> Iterator[str]:
    """Every key anywhere in a schema."""
    if isinstance(schema, dict):
        for key, inner in schema.items():  # pyright: ignore[reportUnknownVariableType] - JSON
            yield str(key)  # pyright: ignore[reportUnknownArgumentType] - likewise
            yield from keys(inner)  # pyright: ignore[reportUnknownArgumentType] - likewise
    elif isinstance(schema, list):
        for inner in schema:  # pyright: ignore[reportUnknownVariableType] - likewise
            yield from keys(inner)  # pyright: ignore[reportUnknownArgumentType] - likewise


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_tools_schema_is_one_flat_object_without_combinators(name: str) -> None:
    schema = SCHEMAS[name]
    assert schema["type"] == "object"
    assert schema["properties"]
    assert COMBINATORS.isdisjoint(keys(schema))
    Draft202012Validator.check_schema(schema)


@pytest.mark.parametrize("name", TOOLS)
def test_a_tool_takes_nothing_that_it_does_not_name(name: str) -> None:
    assert TOOLS[name].definition.input_schema["additionalProperties"] is False


def test_the_flat_schema_has_every_tiers_parameters_and_the_calls_own() -> None:
    told = {parameter.name for parameter in parameters()}
    assert set(all_parameters()) == told
    assert set(FLAT["properties"]) == told | set(EditOptions.model_fields)
    assert FLAT["required"] == ["images"]
    assert FLAT["properties"]["tier"]["enum"] == list(TIERS)


@pytest.mark.parametrize("default_tier", TIERS)
def test_the_default_tier_is_the_one_that_the_person_set(default_tier: str) -> None:
    edit_image = make_tools(default_tier)["edit_image"].definition
    assert edit_image.input_schema["properties"]["tier"]["default"] == default_tier


def of_all_tiers(name: str) -> list[Parameter]:
    return [tier.parameters[name] for tier in tiers().values() if name in tier.parameters]


@pytest.mark.parametrize("name", all_parameters())
def test_a_bound_stands_at_its_widest(name: str) -> None:
    rule, told = flat_parameter(name), of_all_tiers(name)
    assert rule.get("minimum") == min(
        (each.minimum for each in told if each.minimum is not None), default=None
    )
    assert rule.get("maximum") == max(
        (each.maximum for each in told if each.maximum is not None), default=None
    )
    assert rule.get("maxItems") == max(
        (each.max_items for each in told if each.max_items is not None), default=None
    )
    words = {word for each in told for word in each.enum or []}
    assert set(rule.get("enum", [])) == words


@pytest.mark.parametrize("name", all_parameters())
def test_a_default_stands_only_where_all_its_tiers_agree(name: str) -> None:
    defaults = [each.default for each in of_all_tiers(name)]
    agreed = defaults[0] if all(default == defaults[0] for default in defaults) else None
    assert flat_parameter(name).get("default") == agreed


@pytest.mark.parametrize("name", all_parameters())
def test_a_parameter_of_some_tiers_names_them(name: str) -> None:
    having = owners(name)
    sentence = f"Only {', '.join(having)}."
    assert (sentence in flat_parameter(name)["description"]) is (len(having) < len(TIERS))


def test_defaults_that_differ_are_told_in_the_sentence() -> None:
    assert flat_parameter("guidance_scale") == {
        "type": "number",
        "minimum": 1,
        "maximum": 20,
        "description": "How literally to follow the prompt. Default: dev 2.5; pro, max 3.5.",
    }
    assert flat_parameter("seed") == {
        "type": "integer",
        "minimum": -1,
        "maximum": 2147483647,
        "description": "Repeat a number to keep a look; -1 is random. Default: dev, pro -1.",
    }


SIDE = st.integers(256, 1536)
PROMPTS = st.text(min_size=1).filter(lambda text: bool(text.strip()))
"""Without the four separators U+001C to U+001F alone, which are space to Python's expressions only."""
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "prompt": PROMPTS,
    "images": st.lists(st.text(), min_size=1, max_size=4),
    "fast_mode": st.booleans(),
    "size": st.builds("{}*{}".format, SIDE, SIDE),
    "num_inference_steps": st.integers(1, 50),
    "guidance_scale": st.floats(1, 20) | st.integers(1, 20),
    "num_images": st.integers(1, 4),
    "seed": st.integers(-1, 2147483647),
    "output_format": st.sampled_from(["jpeg", "png", "webp"]),
    "aspect_ratio": st.sampled_from(get_args(Ratio)),
    "safety_tolerance": st.sampled_from("12345"),
}


@st.composite
def admitted(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    """A tier, and a call that its model admits: it, and not this strategy, decides."""
    tier = draw(st.sampled_from(list(TIERS)))
    optional = {name: VALUES[name] for name in TIERS[tier].model_fields if name not in ("prompt", "images")}
    chosen = draw(
        st.fixed_dictionaries({"prompt": VALUES["prompt"], "images": VALUES["images"]}, optional=optional)
    )
    model = TIERS[tier].model_validate(chosen)
    return tier, model.model_dump(exclude_unset=True)


@given(admitted())
def test_whatever_a_tier_admits_the_flat_schema_admits(call: tuple[str, dict[str, Any]]) -> None:
    tier, chosen = call
    problems = list(Draft202012Validator(FLAT).iter_errors(chosen | {"tier": tier}))  # pyright: ignore[reportUnknownMemberType] - a stub's overload
    assert problems == []


@given(admitted())
def test_whatever_a_tier_admits_its_own_schema_admits(call: tuple[str, dict[str, Any]]) -> None:
    """The sandbox checks bodies with this schema, and not with the model."""
    tier, chosen = call
    schema = TIERS[tier].model_json_schema()
    assert list(Draft202012Validator(schema).iter_errors(chosen)) == []  # pyright: ignore[reportUnknownMemberType] - a stub's overload


@pytest.mark.parametrize("model", TIERS.values())
def test_a_parameter_without_a_default_stays_a_plain_type(model: type[BaseModel]) -> None:
    for name, rule in properties(model).items():
        assert isinstance(rule["type"], str)
        assert "title" not in rule
        field = model.model_fields[name]
        assert ("default" in rule) is (not field.is_required() and field.default is not MISSING)


class Ultra(Kontext):
    """A tier that no vendor has: wider here, open there."""

    tier: ClassVar[str] = "ultra"

    guidance_scale: Annotated[float, Field(ge=0.5, le=30, description="Guidance.")] = 3.5
    num_inference_steps: Annotated[int, Field(ge=10, description="Steps.")] = 28
    output_format: Annotated[Literal["webp", "avif"], Field(description="Format.")] = "webp"
    size: Annotated[str, Field(pattern="^[0-9]+$", description="Size.")] = "1024"
    aspect_ratio: Annotated[str, Field(description="Ratio.")] | MISSING = MISSING


@pytest.fixture
def _with_ultra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TIERS, "ultra", Ultra)


@pytest.mark.usefixtures("_with_ultra")
def test_where_tiers_differ_a_rule_widens_until_all_fit() -> None:
    guidance = flat_parameter("guidance_scale")
    assert (guidance["minimum"], guidance["maximum"]) == (0.5, 30)
    assert "default" not in guidance
    assert guidance["description"].endswith("Default: dev 2.5; pro, max, ultra 3.5.")
    assert flat_parameter("output_format")["enum"] == ["jpeg", "png", "webp", "avif"]
    assert flat_parameter("output_format")["description"] == (
        "File format. Only dev, ultra. Default: dev jpeg; ultra webp."
    )


@pytest.mark.usefixtures("_with_ultra")
def test_a_bound_that_one_tier_lacks_is_no_bound_of_all() -> None:
    steps = flat_parameter("num_inference_steps")
    assert steps["minimum"] == 1
    assert "maximum" not in steps
    assert steps["default"] == 28
    assert "enum" not in flat_parameter("aspect_ratio")
    assert "pattern" not in flat_parameter("size")
    assert "default" not in flat_parameter("size")


@pytest.mark.parametrize(
    ("rule", "sentence"),
    [
        ({"type": "integer", "minimum": -1, "maximum": 2147483647}, "a whole number from -1 to 2147483647"),
        ({"type": "number", "minimum": 1, "maximum": 20}, "a number from 1 to 20"),
        ({"type": "number", "minimum": 0.5, "maximum": 2.25}, "a number from 0.5 to 2.25"),
        ({"type": "boolean"}, "true or false"),
        ({"type": "string"}, "text"),
        ({"type": "string", "pattern": r"\S"}, "text"),
        ({"type": "string", "pattern": "^a$", "description": "An a."}, "text: an a"),
        ({"type": "string", "enum": ["1", "2"]}, 'one of "1", "2"'),
        ({"type": "array", "minItems": 1, "maxItems": 4}, "a list of 1 to 4 sources"),
    ],
)
def test_a_rule_is_told_in_words(rule: dict[str, Any], sentence: str) -> None:
    assert rule_sentence(rule) == sentence


def test_the_documents_rows_tell_what_each_tier_admits_and_its_default() -> None:
    rows = {row[0]: row[1:] for row in parameter_rows()}
    assert list(rows) == [f"`{name}`" for name in all_parameters() if name != "images"]
    assert rows["`guidance_scale`"] == (
        "a number from 1 to 20, default 2.5",
        "a number from 1 to 20, default 3.5",
        "a number from 1 to 20, default 3.5",
        "How literally to follow the prompt.",
    )
    assert rows["`fast_mode`"][:3] == ("true or false, default false", "–", "–")
    assert rows["`prompt`"] == ("text", "text", "text", properties(TIERS["pro"])["prompt"]["description"])
    assert rows["`seed`"][2] == "a whole number from -1 to 2147483647"
    assert rows["`output_format`"][0] == 'one of "jpeg", "png", "webp", default jpeg'


def test_a_table_is_markdown() -> None:
    assert markdown_table(("a", "b"), [("1", "2"), ("3", "4")]) == (
        "| a | b |\n| --- | --- |\n| 1 | 2 |\n| 3 | 4 |"
    )
    assert markdown_table(iter(["a"]), iter([])) == "| a |\n| --- |"


def test_the_documents_table_has_a_cell_for_every_tier_in_every_row() -> None:
    """A bar inside a cell would end it."""
    table = markdown_table(["Parameter", *TIERS, "Meaning"], parameter_rows())
    assert {line.count("|") for line in table.splitlines()} == {len(TIERS) + 3}
