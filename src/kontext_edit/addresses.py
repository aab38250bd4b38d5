"""The `kontext://` addresses: what a client can read by name, and how ids stand in them."""

from mcp.shared.uri_template import UriTemplate

TASKS = "kontext://tasks"
"""The latest edits."""
TIERS = "kontext://tiers"
"""What each tier takes, and what it costs."""
TASK = UriTemplate.parse("kontext://tasks/{id}")
"""One edit, by its task_id."""
PICTURE = UriTemplate.parse("kontext://pictures/{id}/{n}")
"""A finished picture: the task_id of its edit, and its number from 1."""


def task_uri(handle: str) -> str:
    """Where the edit with this id is read."""
    return TASK.expand({"id": handle})


def picture_uri(handle: str, number: int) -> str:
    """Where a finished picture is read; `number` is its place in the edit's result, from 1."""
    return PICTURE.expand({"id": handle, "n": str(number)})
