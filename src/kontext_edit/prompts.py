"""The prompts: the recipes, as a client offers them to a person."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import mcp_types as types
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.shared.exceptions import MCPError

from kontext_edit.errors import InvalidSettings
from kontext_edit.recipes.book import RECIPES
from kontext_edit.recipes.recipe import Recipe, problems
from kontext_edit.tiers import DEFAULT_TIER
from kontext_edit.tools import Workshop

Context = ServerRequestContext[None, Any]

_MOST_PROBLEMS = 20
"""Told at a time."""


def add_to(server: Server[None], workshop: Workshop) -> None:
    """Let clients list the prompts and have them written."""

    async def list_prompts(
        _ctx: Context, _params: types.PaginatedRequestParams | None
    ) -> types.ListPromptsResult:
        return types.ListPromptsResult(prompts=[_prompt(recipe) for recipe in RECIPES.values()])

    async def get_prompt(_ctx: Context, params: types.GetPromptRequestParams) -> types.GetPromptResult:
        recipe = recipe_named(params.name)
        text = written(recipe, params.arguments or {}, _default_tier(workshop))
        message = types.PromptMessage(role="user", content=types.TextContent(text=text))
        return types.GetPromptResult(description=recipe.description, messages=[message])

    server.add_request_handler("prompts/list", types.PaginatedRequestParams, list_prompts)
    server.add_request_handler("prompts/get", types.GetPromptRequestParams, get_prompt)


def recipe_named(name: str) -> Recipe:
    """The recipe of a prompt; raises MCPError where there is none."""
    recipe = RECIPES.get(name)
    if recipe is None:
        known = ", ".join(RECIPES)
        raise MCPError(types.INVALID_PARAMS, f"There is no prompt {name[:40]!r}; there are {known}.")
    return recipe


def written(recipe: Recipe, arguments: Mapping[str, str], default_tier: str) -> str:
    """The instruction of a recipe; an argument left empty counts as not given.

    Raises:
        MCPError: with everything that is missing or wrong.
    """
    given = {name: value.strip() for name, value in arguments.items() if value.strip()}
    if found := problems(recipe, given):
        raise MCPError(
            types.INVALID_PARAMS,
            f"The prompt {recipe.name} cannot be written. {' '.join(found[:_MOST_PROBLEMS])}",
        )
    return recipe.write({"tier": recipe.tier or default_tier, **given})


def _prompt(recipe: Recipe) -> types.Prompt:
    return types.Prompt(
        name=recipe.name,
        title=recipe.title,
        description=recipe.description,
        arguments=[
            types.PromptArgument(
                name=each.name, title=each.title, description=each.description, required=each.required
            )
            for each in recipe.arguments
        ],
    )


def _default_tier(workshop: Workshop) -> str:
    with suppress(InvalidSettings):
        return workshop.settings().default_tier
    return DEFAULT_TIER
