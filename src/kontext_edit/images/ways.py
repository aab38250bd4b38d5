"""What an assistant can do about a picture: it depends on where the person is.

On the person's own machine there are paths, a clipboard and screenshots; for callers from elsewhere there
are not, and nothing that an error says tells them of this machine.
"""

from dataclasses import dataclass

from kontext_edit.images.wording import HOW_TO_GIVE


@dataclass(frozen=True, slots=True)
class Ways:
    """Words for errors; all but the sentences about what is there go into hints.

    Attributes:
        sources: What a source is.
        how_to_give: How a person can give a picture.
        no_result: What to name while there is no earlier result.
        gone_result: What to do where an earlier result's picture is gone.
        gone_upload: What to do where an upload is gone.
        instead_of_link: What to do with a picture whose link cannot be used; part of a sentence.
        instead_of_base64: What is better than base64; part of a sentence.
    """

    sources: str
    how_to_give: str
    no_result: str
    gone_result: str
    gone_upload: str
    instead_of_link: str
    instead_of_base64: str


AT_HOME = Ways(
    sources="A source is a path, a file:// or http(s):// URL, a data: URL or base64, `task:<id>`, `last`, "
    "`clipboard`, `latest:screenshot` or `latest:download`.",
    how_to_give=HOW_TO_GIVE,
    no_result="Name a picture by its path or URL.",
    gone_result="Ask the person where it is now, or edit the original again.",
    gone_upload="Ask the person to drop, paste or pick the picture in the App again, or for its path.",
    instead_of_link="save the picture and pass its path",
    instead_of_base64="the path of a file: it is far shorter",
)
"""On the person's own machine."""


def from_afar(uploads_url: str) -> Ways:
    """For callers who are elsewhere.

    Args:
        uploads_url: Where pictures are sent to.
    """
    upload = (
        f"send the file with POST to {uploads_url} (same bearer token) and name the upload:<id> that it "
        "answers"
    )
    how_to_give = (
        f"Give a public http(s) URL or a data: URL; or {upload}; or ask the person to drop the picture into "
        "the App. Earlier results are `task:<id>` and `last`."
    )
    return Ways(
        sources="A source is an http(s):// URL, a data: URL or base64, `upload:<id>`, `task:<id>` or `last`.",
        how_to_give=how_to_give,
        no_result=how_to_give,
        gone_result="Edit the original again.",
        gone_upload=f"Again: {upload}; or ask the person to drop the picture into the App.",
        instead_of_link=upload,
        instead_of_base64=f"{upload}: it is far shorter",
    )
