"""Options made from the spec: no parameter, bound or default is written down here.

Values are handed on as they were typed, so that the spec judges them and its errors are what a person
reads; only what looks like the number that is wanted becomes one.
"""

from collections.abc import Mapping
from inspect import Parameter
from typing import Annotated, Any

import typer
from rich.markup import escape

from kontext_edit.request import EditOptions, EstimateCall
from kontext_edit.schema import JsonSchema, all_parameters, flat_parameter, properties, rule_sentence
from kontext_edit.tiers import DEFAULT_TIER, TIERS

Rules = Mapping[str, JsonSchema]

_NUMBERS = {"integer": int, "number": float}
_NO_OPTIONS = frozenset({"prompt", "images", "wait_seconds"})
"""Words without an option, and what a command that waits for the end does without."""


def edit_rules() -> Rules:
    """What `edit` takes as options: what `edit_image` does, and every parameter of every tier."""
    flat = {name: flat_parameter(name) for name in all_parameters()}
    rules = properties(EditOptions)
    tier = _tier_rule(rules["tier"], f"Default: KONTEXT_DEFAULT_TIER, else {DEFAULT_TIER}.")
    every = rules | {"tier": tier} | flat
    return {name: rule for name, rule in every.items() if name not in _NO_OPTIONS}


def estimate_rules() -> Rules:
    """What `estimate` takes as options."""
    rules = properties(EstimateCall)
    return rules | {"tier": _tier_rule(rules["tier"], "Without it: all side by side.")}


def options(rules: Rules) -> list[Parameter]:
    """A keyword of a command's signature for each rule; what is not given is None."""
    return [_option(name, rule) for name, rule in rules.items()]


def values(given: Mapping[str, Any], rules: Rules) -> dict[str, Any]:
    """What was given to the options of `rules`, as a tool's arguments."""
    return {name: _value(given[name], rule) for name, rule in rules.items()}


def _tier_rule(rule: JsonSchema, otherwise: str) -> JsonSchema:
    suits = ". ".join(f"{name.capitalize()} for {model.suits}" for name, model in TIERS.items())
    return rule | {"description": f"{suits}. {otherwise}"}


def _option(name: str, rule: JsonSchema) -> Parameter:
    if rule["type"] == "boolean":
        annotation = Annotated[bool | None, typer.Option(help=_help(rule), show_default=False)]
    else:
        annotation = Annotated[str | None, typer.Option(metavar=_metavar(rule), help=_help(rule))]
    return Parameter(name, Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _metavar(rule: JsonSchema) -> str:
    return "CHOICE" if "enum" in rule else {"integer": "N", "number": "X"}.get(rule["type"], "TEXT")


def _help(rule: JsonSchema) -> str:
    """The spec's sentence, with the bounds and the default where the sentence leaves them out."""
    parts = [str(rule["description"])]
    if "enum" in rule or "minimum" in rule:
        admitted = rule_sentence(rule)
        parts.append(f"{admitted[0].upper()}{admitted[1:]}.")
    if "default" in rule:
        parts.append(f"Default: {str(rule['default']).lower()}.")
    return escape(" ".join(parts))


def _value(typed: Any, rule: JsonSchema) -> Any:  # noqa: ANN401 - JSON values, in and out
    number = _NUMBERS.get(rule["type"])
    if number is None or not isinstance(typed, str):
        return typed
    try:
        return number(typed)
    except ValueError:
        return typed
