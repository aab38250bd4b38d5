"""Names by which a person finds a picture."""

import hashlib
import re
from datetime import datetime

from kontext_edit.task import Task

_NAME_CHARACTERS = 40
_SMALL_WORDS = re.compile(
    "a|an|and|the|to|of|in|on|at|into|it|its|this|that|with|from|for|by|as|be|is|make|made|change|changed"
    "|replace|turn|edit|add|give|put|set|let|please|picture|photo|image",
    re.IGNORECASE,
)
_END_OF_CLAUSE = re.compile(r"[,.;:!?\n]|\b(?:while|keep|keeping|but)\b", re.IGNORECASE)


def file_name(task: Task, number: int | None) -> str:
    """A name by which a person finds the picture, without its extension.

    `2026-11-21 red leather jacket (pro) 4f2a`, and `…4f2a-2` for the second of several.
    """
    day = datetime.fromtimestamp(task.created_at).astimezone().date().isoformat()
    mark = hashlib.sha256(task.handle.encode()).hexdigest()[:4]
    return f"{day} {_gist(task.prompt)} ({task.tier}) {mark}" + (f"-{number}" if number else "")


def _gist(prompt: str) -> str:
    """The words of an instruction that tell it from others."""
    clause, *_ = _END_OF_CLAUSE.split(prompt.strip(), maxsplit=1)
    words = re.findall(r"[^\W_]+(?:['’-][^\W_]+)*", clause or prompt)
    telling = [word.lower() for word in words if not _SMALL_WORDS.fullmatch(word)] or ["edit"]
    gist = telling[0][:_NAME_CHARACTERS]
    for word in telling[1:]:
        if len(gist) + 1 + len(word) > _NAME_CHARACTERS:
            break
        gist += f" {word}"
    return gist
