"""The spec against the vendor's own facts, in both directions, and every parameter at its edges."""

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pytest
from tests.facts import UPSTREAM, Parameter, facts, parameters, tiers

from kontext_edit.errors import InvalidArguments
from kontext_edit.request import parse_edit
from kontext_edit.schema import properties
from kontext_edit.tiers import DEFAULT_TIER, PRICES_AS_OF, TIERS, Kontext, owners

PROMPT = "Make the cup blue"
SENT = ["data:image/png;base64,AA=="]


@dataclass(frozen=True, slots=True)
class Case:
    """A value for a parameter, and whether the vendor's facts admit it."""

    parameter: Parameter
    value: Any
    admitted: bool

    @property
    def arguments(self) -> dict[str, Any]:
        call: dict[str, Any] = {"tier": self.parameter.tier, "prompt": PROMPT, "images": ["cup.png"]}
        return call | {self.parameter.name: self.value}

    def __str__(self) -> str:
        return f"{self.parameter.tier}-{self.parameter.name}-{self.value!r}"[:60]


def edges(parameter: Parameter) -> Iterable[tuple[Any, bool]]:
    """Values at the parameter's bounds, just outside, and of the wrong type."""
    if parameter.enum:
        yield from enum_edges(parameter.enum)
    elif parameter.form:
        yield from size_edges(parameter)
    else:
        yield from {
            "string": text_edges,
            "string[]": list_edges,
            "boolean": boolean_edges,
            "integer": integer_edges,
            "number": number_edges,
        }[parameter.type](parameter)


def text_edges(parameter: Parameter) -> Iterable[tuple[Any, bool]]:
    yield from [("x", True), (" Grüße, 世界\n", True), ("x" * 5000, True)]
    assert parameter.required
    yield from [("", False), (" \t\n", False), (5, False), (2.5, False), (True, False), (["x"], False)]
    yield {"text": "x"}, False


def list_edges(parameter: Parameter) -> Iterable[tuple[Any, bool]]:
    most = parameter.max_items
    assert most is not None
    yield from [(["a.png"], True), (["a.png"] * most, True), (["a.png"] * (most + 1), False)]
    yield from [([], False), ("a.png", False), ([1], False), ([None], False), ([["a.png"]], False)]
    yield from [({"0": "a.png"}, False), (1, False), (True, False)]


def boolean_edges(_: Parameter) -> Iterable[tuple[Any, bool]]:
    yield from [(True, True), (False, True)]
    yield from [(0, False), (1, False), (1.0, False), ("true", False), ("", False), ([], False), ({}, False)]


def integer_edges(parameter: Parameter) -> Iterable[tuple[Any, bool]]:
    low, high = bounds(parameter)
    low, high = int(low), int(high)
    yield from [(low, True), (low + 1, True), (high - 1, True), (high, True)]
    yield from [(low - 1, False), (high + 1, False), (10**30, False), (-(10**30), False)]
    yield from [(low + 0.5, False), (math.nan, False), (math.inf, False)]
    yield from [(str(high), False), ("", False), (True, False), ([high], False), ({}, False)]


def number_edges(parameter: Parameter) -> Iterable[tuple[Any, bool]]:
    low, high = bounds(parameter)
    yield from [
        (low, True),
        (high, True),
        (math.nextafter(low, high), True),
        (math.nextafter(high, low), True),
    ]
    yield from [(math.nextafter(low, -math.inf), False), (math.nextafter(high, math.inf), False)]
    yield from [(math.nan, False), (math.inf, False), (-math.inf, False), (int(high) + 1, False)]
    yield from [(str(high), False), ("", False), (True, False), ([high], False), ({}, False)]


def enum_edges(words: list[str]) -> Iterable[tuple[Any, bool]]:
    yield from ((word, True) for word in words)
    yield from ((f"{word}\n", False) for word in words[:1])
    yield from ((word.upper(), False) for word in words if word.upper() not in words)
    yield from ((int(word), False) for word in words if word.isdecimal())
    yield from [("0", False), ("6", False), ("1:2", False), ("gif", False), ("", False)]
    yield from [(0, False), (1.5, False), (True, False), (words[:1], False), ({}, False)]


def size_edges(parameter: Parameter) -> Iterable[tuple[Any, bool]]:
    low, high = parameter.side_minimum, parameter.side_maximum
    assert low is not None
    assert high is not None
    yield from ((f"{one}*{other}", True) for one in (low, 999, high) for other in (low, 1024, high))
    for outside in (low - 1, high + 1, 0, -low, 10 * low):
        yield from [(f"{outside}*{low}", False), (f"{low}*{outside}", False)]
    misshapen = ["1024x1024", "1024*", "*1024", "1024", "1024*1024*1024", "1024 * 1024", "1024.0*1024", ""]
    yield from ((text, False) for text in misshapen)
    arabic_indic_1024 = "\u0661\u0660\u0662\u0664"
    for text in (f"{arabic_indic_1024}*{arabic_indic_1024}", f"{low}*{low}\n", f" {low}*{low}", "01024*1024"):
        yield text, False
    yield from [(1024, False), (10.24, False), (True, False), ([low, low], False), ({}, False)]


def bounds(parameter: Parameter) -> tuple[float, float]:
    assert parameter.minimum is not None
    assert parameter.maximum is not None
    return parameter.minimum, parameter.maximum


CASES = [
    Case(parameter, value, admitted) for parameter in parameters() for value, admitted in edges(parameter)
]


def in_the_vendors_terms(tier: str, name: str) -> Parameter:
    """What the spec says of a parameter, without what it may not say: any other rule fails here."""
    rule = properties(TIERS[tier])[name]
    array = rule["type"] == "array"
    ours = {"description", "minItems", "pattern", "items"}
    theirs = {"type", "default", "minimum", "maximum", "enum", "maxItems"}
    assert set(rule) <= ours | theirs
    return Parameter(
        tier=tier,
        name=name,
        type=f"{rule['items']['type']}[]" if array else rule["type"],
        required=TIERS[tier].model_fields[name].is_required(),
        default=rule.get("default"),
        minimum=rule.get("minimum"),
        maximum=rule.get("maximum"),
        enum=rule.get("enum"),
        max_items=rule.get("maxItems"),
    )


def without_form(parameter: Parameter) -> Parameter:
    """A size's form is a pattern in the spec; its cases hold it."""
    return Parameter(
        **{
            name: getattr(parameter, name)
            for name in ("tier", "name", "type", "default", "minimum", "maximum", "enum", "max_items")
        },
        # An edit needs a picture, although the wire would do without one.
        required=parameter.required or parameter.name == "images",
    )


def test_there_are_the_vendors_tiers_and_no_others() -> None:
    assert {path.stem for path in UPSTREAM.glob("*.toml")} - {"errors"} == set(TIERS) == set(tiers())


@pytest.mark.parametrize("tier", TIERS)
def test_a_tier_takes_the_vendors_parameters_and_no_others(tier: str) -> None:
    assert set(TIERS[tier].model_fields) == set(tiers()[tier].parameters)


@pytest.mark.parametrize("parameter", parameters(), ids=lambda each: f"{each.tier}-{each.name}")
def test_a_parameter_has_the_vendors_type_bounds_words_and_default(parameter: Parameter) -> None:
    assert in_the_vendors_terms(parameter.tier, parameter.name) == without_form(parameter)


@pytest.mark.parametrize("tier", TIERS)
def test_only_a_size_has_a_form_of_its_own(tier: str) -> None:
    formed = {name for name, rule in properties(TIERS[tier]).items() if rule.get("pattern", r"\S") != r"\S"}
    assert formed == {name for name, told in tiers()[tier].parameters.items() if told.form}


@pytest.mark.parametrize("tier", TIERS)
def test_a_tier_has_the_vendors_endpoint_and_prices(tier: str) -> None:
    model, told = TIERS[tier], tiers()[tier]
    assert model.tier == told.name
    assert model.endpoint == told.endpoint
    assert money(model.price_usd) == told.image_usd
    assert money(model.fast_price_usd) == told.fast_image_usd
    assert money(model.bfl_price_usd) == told.bfl_image_usd
    assert told.price_as_of == PRICES_AS_OF


def money(amount: Decimal | None) -> str | None:
    return None if amount is None else str(amount)


@pytest.mark.parametrize("name", ["dev", "pro", "max", "errors"])
def test_the_vendors_facts_name_their_sources_and_their_day(name: str) -> None:
    told = facts(name)
    assert all(
        "Novita" in source or source.startswith("https://novita.ai/docs/") for source in told["sources"]
    )
    assert told["transcribed"].isoformat() >= PRICES_AS_OF


@pytest.mark.parametrize("case", [case for case in CASES if case.admitted], ids=str)
def test_what_the_vendor_admits_is_accepted_and_nothing_else_goes_over_the_wire(case: Case) -> None:
    edit = parse_edit(case.arguments, another_tier(case.parameter.tier)).edit
    expected = {"prompt": PROMPT, case.parameter.name: case.value, "images": SENT}
    assert edit.tier == case.parameter.tier
    assert json.dumps(edit.body(SENT), sort_keys=True) == json.dumps(expected, sort_keys=True)


@pytest.mark.parametrize("case", [case for case in CASES if not case.admitted], ids=str)
def test_what_the_vendor_does_not_admit_is_refused_by_its_name(case: Case) -> None:
    with pytest.raises(InvalidArguments) as caught:
        parse_edit(case.arguments, another_tier(case.parameter.tier))
    (problem,) = caught.value.problems
    assert problem.startswith((f"`{case.parameter.name}` must be ", f"`{case.parameter.name}` is empty: "))


def another_tier(tier: str) -> str:
    """A default that is not the tier asked for: what is asked for counts."""
    return next(name for name in TIERS if name != tier)


@pytest.mark.parametrize("parameter", parameters(), ids=lambda each: f"{each.tier}-{each.name}")
def test_every_parameter_is_tried_on_both_sides(parameter: Parameter) -> None:
    tried = [case.admitted for case in CASES if case.parameter == parameter]
    assert True in tried
    assert False in tried


CAN_BE_LEFT_OUT = [each for each in parameters() if each.name not in ("prompt", "images")]


@pytest.mark.parametrize("parameter", CAN_BE_LEFT_OUT, ids=lambda each: f"{each.tier}-{each.name}")
def test_a_parameter_that_is_null_is_not_given(parameter: Parameter) -> None:
    call = parse_edit(Case(parameter, None, admitted=True).arguments, DEFAULT_TIER)
    assert call.edit.body(SENT) == {"prompt": PROMPT, "images": SENT}


@pytest.mark.parametrize("tier", TIERS)
def test_all_parameters_chosen_at_once_are_all_sent(tier: str) -> None:
    chosen = {
        case.parameter.name: case.value for case in CASES if case.admitted and case.parameter.tier == tier
    }
    call = parse_edit(chosen | {"tier": tier}, DEFAULT_TIER)
    assert call.edit.body(SENT) == chosen | {"images": SENT}
    assert set(call.edit.chosen) == set(chosen) - {"prompt", "images"}


@pytest.mark.parametrize("tier", TIERS)
def test_a_default_that_is_chosen_is_sent_all_the_same(tier: str) -> None:
    """What the caller relies on is said, should the vendor change a default."""
    chosen = {
        name: told.default for name, told in tiers()[tier].parameters.items() if told.default is not None
    }
    call = parse_edit({"tier": tier, "prompt": PROMPT, "images": ["a.png"]} | chosen, DEFAULT_TIER)
    assert call.edit.body(SENT) == {"prompt": PROMPT, "images": SENT} | chosen


def test_a_whole_number_is_a_number() -> None:
    arguments = {"prompt": PROMPT, "images": ["a.png"], "guidance_scale": 3}
    assert parse_edit(arguments, "pro").edit.body(SENT)["guidance_scale"] == 3


def test_the_tiers_go_from_the_cheapest_to_the_dearest() -> None:
    prices = [model.price_usd for model in TIERS.values()]
    assert prices == sorted(prices)


@pytest.mark.parametrize("model", TIERS.values())
def test_a_tier_says_how_long_it_takes_and_what_it_suits(model: type[Kontext]) -> None:
    quick, slow = model.usual_seconds
    assert 0 < quick < slow
    assert model.suits


def test_owners_are_the_tiers_that_take_a_parameter() -> None:
    assert owners("prompt") == ["dev", "pro", "max"]
    assert owners("size") == ["dev"]
    assert owners("aspect_ratio") == ["pro", "max"]
    assert owners("webhook") == []
