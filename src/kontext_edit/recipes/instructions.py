"""The instructions: which calls to make, in which words.

[guide] says what the model is good at and how it is used; that one should say what must stay, and that it
drifts over many rounds, is known of the model itself.
"""

import json
import math
from typing import Any

from kontext_edit.recipes.recipe import Given, scenes_in
from kontext_edit.tiers import Dev, Max, owners

SWAP, EXTEND = "swap", "extend"
"""What can be done with a background."""
WIDE = "16:9"
"""What an extended picture becomes, where the person names no shape."""
SEED = 42
"""What frames share, where the person names none; any number would do, as long as it is the same."""
DRAFTS = 4
"""How many drafts there are to choose from, where the person names no number."""

_STEPS_FOR_BLENDING = 32
"""Where several pictures are blended, 28 to 35 steps hold together better [guide]."""
_PIXELS, _SIDE_STEP, _LONGEST_SIDE = 1024 * 1024, 32, 1536

_CHOSEN = "task:<task_id of the drafts>#<number of the chosen draft>"
_CHECK = (
    "Look at the preview: was the change made, and is what had to stay the same? If not, say so, and offer "
    "another call with that part of the prompt worded more plainly."
)
_IN_THE_END = (
    "Then tell the person where the results are and what they cost. To go on from a result, use it as the "
    'source: images ["task:<task_id>"]. After several rounds go back to an early picture: every copy drifts '
    "a little."
)


def change_look(given: Given) -> str:
    """Other clothes or hair on the same person."""
    subject = given.get("subject", "the person")
    prompt = (
        f"Change the {given['what']} of {subject} to {given['to']}. Keep the face, expression and pose of "
        f"{subject}, everything else about them, the background and the lighting exactly as they are."
    )
    return _single(_edit(given, prompt))


def change_background(given: Given) -> str:
    """Another place around the subject, or more of the same place."""
    subject, extend = given.get("subject", "the main subject"), given.get("how") == EXTEND
    prompt = (
        f"Extend the background beyond the edges of the picture: {given['background']}. Go on with the same "
        f"light, perspective and focus. Keep {subject} and everything that is visible now unchanged."
        if extend
        else f"Replace the background with {given['background']}. Keep {subject} unchanged: the same "
        "position, size, pose, edges, camera angle and framing."
    )
    shape = given.get("aspect_ratio") or (WIDE if extend else None)
    return _single(_edit(given, prompt, **_shaped(shape, given["tier"])))


def edit_text(given: Given) -> str:
    """Other words in the same lettering."""
    where = f" on {given['where']}" if "where" in given else ""
    prompt = (
        f"Change the text{where} from {_quoted(given['old'])} to {_quoted(given['new'])}. Keep its font, "
        "size, colour and perspective, and everything else in the picture, exactly as they are."
    )
    advice = (
        "Read the new text in the result letter by letter before you call it done. Pro and Max write more "
        "legibly than Dev; where small or stylised letters came out wrong, offer the same call with tier max."
    )
    return _single(_edit(given, prompt), advice)


def combine_pictures(given: Given) -> str:
    """One picture out of two to four."""
    pictures = [given[name] for name in ("first", "second", "third", "fourth") if name in given]
    prompt = (
        f"{_sentence(given['instruction'])} Keep each face, figure and object exactly as it is in its own "
        "picture, and match light, scale and perspective."
    )
    steps = {"num_inference_steps": _STEPS_FOR_BLENDING} if given["tier"] == Dev.tier else {}
    advice = (
        "The order of `images` is what “the first picture” means. Simple instructions blend best: where the "
        "result is muddled, leave details out and add them with a second edit of the result."
    )
    return _single({"prompt": prompt, "images": pictures, "tier": given["tier"], **steps}, advice)


def restyle(given: Given) -> str:
    """The same picture by other means."""
    keep = given.get("keep", "the composition, every object's place, the poses and the faces")
    prompt = f"Change the style of the picture to {given['style']}. Keep {keep} exactly the same."
    advice = "Where too little of the style came through, name what makes it: strokes, palette, paper."
    return _single(_edit(given, prompt), advice)


def same_subject(given: Given) -> str:
    """One subject over several frames: the same source and the same seed for all [guide]."""
    scenes, subject, tier = scenes_in(given["scenes"]), given["subject"], given["tier"]
    same = f"Keep the face, hair, clothes and proportions of {subject} exactly the same."
    call = {
        "prompts": [f"Change the scene: {subject}, {scene}. {same}" for scene in scenes],
        "images": [given["picture"]],
        "tier": tier,
        "seed": int(given.get("seed", SEED)),
    }
    dearer = "" if tier == Max.tier else " If the subject still drifts, offer the same call with tier max."
    return _in_steps(
        f"Make {len(scenes)} frames of one subject with Kontext, all from the same source and with the same "
        "seed: that is what keeps the subject the same.",
        _estimate({"tier": tier, "edits": len(scenes)}),
        f"2. {_call('edit_image', call)}",
        "3. Compare the frames with the source. Make a frame that went wrong again from the source, with the "
        f"same seed, never from another frame: copies of copies drift.{dearer}",
    )


def draft_and_finish(given: Given) -> str:
    """Drafts on Dev in fast mode, and the chosen one fed back to a better tier [guide]."""
    finish, count = given["tier"], int(given.get("drafts", DRAFTS))
    drafts: dict[str, Any] = {"tier": Dev.tier, "fast_mode": True, "num_images": count}
    prompt = f"{_sentence(given['change'])} Keep everything else in the picture exactly as it is."
    refine = (
        "Refine this picture: make detail, texture and edges clean and sharp. Keep the composition, the "
        "subject, the colours and the light exactly as they are."
    )
    return _in_steps(
        f"Draft an edit cheaply with Kontext, let the person choose a draft, and finish it on {finish}.",
        _estimate(drafts, {"tier": finish}),
        f"2. {_call('edit_image', {'prompt': prompt, 'images': [given['picture']], **drafts})}",
        "3. Show the drafts with their numbers, and ask which one to finish. If none will do, word "
        "the change otherwise and draft again; do not finish what nobody chose.",
        f"4. {_call('edit_image', {'prompt': refine, 'images': [_CHOSEN], 'tier': finish})}",
        "Write the drafts' task_id and the number of the chosen one into `images`. Where a draft lost the "
        f"likeness of a face, make the edit of step 2 on the original with tier {finish} instead, without "
        "fast_mode and num_images.",
    )


def _edit(given: Given, prompt: str, **more: object) -> dict[str, Any]:
    """The arguments of edit_image for one picture."""
    return {"prompt": prompt, "images": [given["picture"]], "tier": given["tier"], **more}


def _single(call: dict[str, Any], advice: str = "") -> str:
    """The instruction for one edit."""
    return _in_steps(f"Edit a picture with Kontext. {_call('edit_image', call)}", _CHECK, advice)


def _estimate(*calls: dict[str, Any]) -> str:
    """The first step where several edits are bought."""
    told = "\n\n".join(_call("estimate_cost", call) for call in calls)
    return f"1. {told}\n\nTell the person the total, and go on when they agree."


def _in_steps(*steps: str) -> str:
    return "\n\n".join(step for step in (*steps, _IN_THE_END) if step)


def _call(tool: str, arguments: dict[str, Any]) -> str:
    return f"Call `{tool}` with exactly:\n\n```json\n{json.dumps(arguments, ensure_ascii=False)}\n```"


def _shaped(ratio: str | None, tier: str) -> dict[str, str]:
    """The shape of the result as the tier takes it: a ratio, or about a megapixel in exact sides."""
    if ratio is None:
        return {}
    if tier in owners("aspect_ratio"):
        return {"aspect_ratio": ratio}
    width, height = map(int, ratio.split(":"))
    return {"size": f"{_side(width / height)}*{_side(height / width)}"}


def _side(proportion: float) -> int:
    side = round(math.sqrt(_PIXELS * proportion) / _SIDE_STEP) * _SIDE_STEP
    return min(side, _LONGEST_SIDE)


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else f"{text}."


def _quoted(text: str) -> str:
    return f"“{text}”" if "'" in text else f"'{text}'"
