"""What comes in with an edit: the body checked against its tier's schema, the pictures decoded.

The check is `jsonschema` on the schema of the spec and never the spec's own validator, so that two
validators that disagree are loud.
"""

import binascii
import copy
import json
import re
from base64 import b64decode
from functools import cache
from io import BytesIO
from typing import Any, NoReturn
from urllib.parse import unquote, urlsplit

from jsonschema import Draft202012Validator, ValidationError
from PIL import Image, ImageOps

from kontext_edit.sandbox.lettering import placeholder
from kontext_edit.sandbox.refusals import RefusedError
from kontext_edit.sandbox.tasks import REJECT_WORD
from kontext_edit.tiers import TIERS

MAX_FILE_BYTES = 10 << 20
"""10 MB a picture [docs, for the same vendor's Seedream]."""
MAX_SIDE = 6_000
"""6000x6000 pixels a picture [docs, likewise]."""
MAX_BODY_BYTES = 64 << 20
"""Room for four such pictures in Base64."""

_EXTRA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "webhook": {
            "type": "object",
            "properties": {"url": {"type": "string", "pattern": "^https?://."}},
            "required": ["url"],
            "additionalProperties": False,
        }
    },
    "additionalProperties": False,
}
"""What an asynchronous API takes beside a tier's own parameters [docs]."""

_DATA_URL = re.compile(r"data:image/[\w.+-]+;base64,", re.IGNORECASE)
_WEB_URL = re.compile(r"https?://", re.IGNORECASE)
_SHOWN_CHARACTERS = 160


def read_edit(tier: str, raw: bytes) -> dict[str, Any]:
    """The body of an edit, with every picture in it known to decode.

    Raises:
        RefusedError: where the API would answer with an error.
    """
    body = _parsed(raw)
    found = _validator(tier).iter_errors(body)  # pyright: ignore[reportUnknownMemberType] - a stub's overload
    problems = [_sentence(error) for error in found]
    if problems:
        raise RefusedError(400, "INVALID_REQUEST_BODY", "; ".join(sorted(problems)), tier=tier)
    if REJECT_WORD in body["prompt"].lower():
        raise RefusedError(400, "ILLEGAL_PROMPT", "The prompt was rejected by moderation.")
    for source in body.get("images", []):
        open_source(source)
    return body


def open_source(source: str) -> Image.Image:
    """A member of `images` as an upright picture: a `data:` URL, bare Base64, or a web address.

    Nothing is fetched: a web address becomes a placeholder that names it.

    Raises:
        RefusedError: if there is no picture in it, or too large a one.
    """
    if _WEB_URL.match(source):
        return _named_placeholder(source)
    encoded = source[match.end() :] if (match := _DATA_URL.match(source)) else source
    try:
        data = b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        _refuse_format("neither a web address nor a picture in Base64")
    if len(data) > MAX_FILE_BYTES:
        raise RefusedError(
            400, "IMAGE_FILE_EXCEEDS_MAX_SIZE", f"A picture has {len(data)} bytes, at most {MAX_FILE_BYTES}."
        )
    return _decoded(data)


def _parsed(raw: bytes) -> Any:  # noqa: ANN401 - JSON that nobody has checked yet
    try:
        return json.loads(raw, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise RefusedError(400, "INVALID_REQUEST_BODY", f"The body is not JSON: {error}") from error


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


@cache
def _validator(tier: str) -> Draft202012Validator:
    """The tier's schema as the wire has it: `images` may be absent, an unknown member may not be there."""
    schema = copy.deepcopy(TIERS[tier].model_json_schema())
    schema["properties"]["extra"] = _EXTRA
    schema["required"] = [name for name in schema["required"] if name != "images"]
    return Draft202012Validator(schema)


def _sentence(error: ValidationError) -> str:
    """A problem with the place where it is; values are cut, since a picture may be one."""
    place = ".".join(str(part) for part in error.absolute_path) or "body"
    text = error.message
    return f"{place}: {text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + '…'}"


def _named_placeholder(url: str) -> Image.Image:
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        _refuse_format("no web address")
    if not host:
        _refuse_format("a web address without a host")
    return placeholder(host, unquote(parts.path.rsplit("/", 1)[-1]))


def _decoded(data: bytes) -> Image.Image:
    try:
        picture = Image.open(BytesIO(data), formats=("JPEG", "PNG", "WEBP"))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        _refuse_resolution("far more")
    except Exception:  # noqa: BLE001 - damaged data makes decoders raise anything
        _refuse_format("not a JPEG, PNG or WebP")
    if max(picture.size) > MAX_SIDE:
        _refuse_resolution(f"{picture.width}x{picture.height}")
    try:
        return ImageOps.exif_transpose(picture)
    except Exception:  # noqa: BLE001 - likewise
        _refuse_format("damaged or cut off")


def _refuse_format(what: str) -> NoReturn:
    raise RefusedError(400, "INVALID_IMAGE_FORMAT", f"A member of images is {what}.")


def _refuse_resolution(size: str) -> NoReturn:
    raise RefusedError(
        400, "IMAGE_EXCEEDS_MAX_RESOLUTION", f"A picture has {size} pixels, at most {MAX_SIDE}x{MAX_SIDE}."
    )
