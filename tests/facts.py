"""The vendor's facts in `tests/upstream/`, as tests read them."""

import tomllib
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

UPSTREAM = Path(__file__).parent / "upstream"
NONE_STATED = "none stated"


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of one tier; what the vendor does not state is None."""

    tier: str
    name: str
    type: str
    required: bool
    default: Any = None
    minimum: float | None = None
    maximum: float | None = None
    enum: list[str] | None = None
    max_items: int | None = None
    form: str | None = None
    side_minimum: int | None = None
    side_maximum: int | None = None


@dataclass(frozen=True, slots=True)
class Tier:
    """One tier; prices are decimal strings, None where the vendor names none."""

    name: str
    endpoint: str
    sources: list[str]
    price_as_of: str
    image_usd: str | None
    fast_image_usd: str | None
    bfl_image_usd: str | None
    parameters: dict[str, Parameter] = field(repr=False)


def facts(name: str) -> dict[str, Any]:
    """The file of this name, as it stands."""
    return tomllib.loads((UPSTREAM / f"{name}.toml").read_text(encoding="utf-8"))


@cache
def tiers() -> dict[str, Tier]:
    """All tiers, by name."""
    return {name: _tier(facts(name)) for name in ("dev", "pro", "max")}


def parameters() -> list[Parameter]:
    """Every tier's parameters."""
    return [parameter for tier in tiers().values() for parameter in tier.parameters.values()]


def _tier(told: dict[str, Any]) -> Tier:
    price = _stated(told["price"])
    return Tier(
        name=told["name"],
        endpoint=told["endpoint"],
        sources=told["sources"],
        price_as_of=str(price["as_of"]),
        image_usd=price["image_usd"],
        fast_image_usd=price["fast_image_usd"],
        bfl_image_usd=price["bfl_image_usd"],
        parameters={
            name: Parameter(told["name"], name, **_stated(rules))
            for name, rules in told["parameters"].items()
        },
    )


def _stated(told: dict[str, Any]) -> dict[str, Any]:
    return {key: None if value == NONE_STATED else value for key, value in told.items()}
