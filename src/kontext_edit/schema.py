"""The tiers' parameters as others read them: one flat tool schema, rule sentences, rows for the documents.

The flat schema has no `anyOf`, `oneOf`, `allOf`, `$ref` or `if`: one of them at the top makes Anthropic's
API refuse the whole request. Whatever a tier admits, the flat schema admits.
"""

from collections.abc import Iterable
from typing import Any, cast

from pydantic import BaseModel

from kontext_edit.tiers import TIERS, owners

JsonSchema = dict[str, Any]

_BOUNDS = {"minimum": min, "maximum": max, "minItems": min, "maxItems": max}
"""How a bound widens when tiers differ."""

_TYPES = {"boolean": "true or false", "string": "text", "integer": "a whole number", "number": "a number"}


def properties(model: type[BaseModel]) -> dict[str, JsonSchema]:
    """The JSON schema of each of a model's fields."""
    rules = cast("dict[str, JsonSchema]", model.model_json_schema()["properties"])
    return {name: _without(rule, "title") for name, rule in rules.items()}


def all_parameters() -> list[str]:
    """Every tier's parameters, each once, in the order of the spec."""
    return list(dict.fromkeys(name for model in TIERS.values() for name in model.model_fields))


def flat_parameter(name: str) -> JsonSchema:
    """One parameter for all the tiers that own it, at its widest."""
    rules = {tier: properties(TIERS[tier])[name] for tier in owners(name)}
    first, *others = rules.values()
    flat = _without(first, "default", "description", "pattern", "enum", *_BOUNDS)
    for bound, widest in _BOUNDS.items():
        if all(bound in rule for rule in rules.values()):
            flat[bound] = widest(rule[bound] for rule in rules.values())
    if all("enum" in rule for rule in rules.values()):
        flat["enum"] = _union(rule["enum"] for rule in rules.values())
    if all(rule.get("pattern") == first.get("pattern") for rule in others) and "pattern" in first:
        flat["pattern"] = first["pattern"]
    if all(rule.get("default") == first.get("default") for rule in others) and "default" in first:
        flat["default"] = first["default"]
    flat["description"] = " ".join([first["description"], *_differences(name, rules)])
    return flat


def rule_sentence(rule: JsonSchema) -> str:
    """What a parameter admits, in words: `a whole number from 1 to 50`."""
    if "enum" in rule:
        return "one of " + ", ".join(f'"{value}"' for value in rule["enum"])
    if rule["type"] == "array":
        return f"a list of {rule['minItems']} to {rule['maxItems']} sources"
    if "minimum" in rule:
        return f"{_TYPES[rule['type']]} from {rule['minimum']:g} to {rule['maximum']:.10g}"
    if "pattern" in rule and "description" in rule:
        description = rule["description"].rstrip(".")
        return f"text: {description[0].lower()}{description[1:]}"
    return _TYPES[rule["type"]]


def parameter_rows() -> list[tuple[str, ...]]:
    """For the documents: a row for each parameter, with what each tier admits and its default."""
    return [
        (f"`{name}`", *(_cell(properties(model).get(name)) for model in TIERS.values()), _meaning(name))
        for name in all_parameters()
        if name != "images"
    ]


def markdown_table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table, as the documents' generated blocks print it."""
    header = list(header)
    lines = [header, ["---"] * len(header), *map(list, rows)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def _meaning(name: str) -> str:
    return str(properties(TIERS[owners(name)[0]])[name]["description"])


def _cell(rule: JsonSchema | None) -> str:
    if rule is None:
        return "–"
    default = f", default {_shown(rule['default'])}" if "default" in rule else ""
    return rule_sentence(_without(rule, "description")) + default


def _differences(name: str, rules: dict[str, JsonSchema]) -> list[str]:
    """Which tiers own the parameter, where not all do, and their defaults, where they differ."""
    sentences: list[str] = []
    if len(rules) < len(TIERS):
        sentences.append(f"Only {', '.join(rules)}.")
    defaults = {tier: _shown(rule["default"]) for tier, rule in rules.items() if "default" in rule}
    if len(defaults) == len(rules) and len(set(defaults.values())) == 1:
        return sentences
    by_default: dict[str, list[str]] = {}
    for tier, default in defaults.items():
        by_default.setdefault(default, []).append(tier)
    if by_default and name not in ("prompt", "images"):
        told = "; ".join(f"{', '.join(tiers)} {default}" for default, tiers in by_default.items())
        sentences.append(f"Default: {told}.")
    return sentences


def _shown(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _union(enums: Iterable[list[Any]]) -> list[Any]:
    return list(dict.fromkeys(value for enum in enums for value in enum))


def _without(rule: JsonSchema, *keys: str) -> JsonSchema:
    return {key: value for key, value in rule.items() if key not in keys}
