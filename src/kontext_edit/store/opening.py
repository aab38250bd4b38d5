"""The store that the settings name."""

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import cast

from kontext_edit.clock import Clock
from kontext_edit.errors import InvalidSettings
from kontext_edit.store.disk import Disk
from kontext_edit.store.links import SignedLinks
from kontext_edit.store.place import Store


def open_store(  # noqa: PLR0913 - what the two kinds of store need
    url: str | None,
    *,
    pictures: Path,
    uploads: Path,
    links: SignedLinks | None,
    link_seconds: int,
    clock: Clock,
) -> Store:
    """The object store at a URL, or the folders of this machine where there is none.

    Args:
        url: `s3://bucket/prefix`, `gs://…`, `az://…` or `file:///folder`; its options (keys, region,
            endpoint) come from the environment variables that its vendor names.
        pictures: the folder of results, without a URL.
        uploads: the folder of uploads, without a URL.
        links: links of our own, which `file://` needs.
        link_seconds: how long a link works.
        clock: tells when links expire.

    Raises:
        InvalidSettings: the URL cannot be used, or the library for it is not installed.
    """
    if url is None:
        return Disk(pictures, uploads)
    if find_spec("obstore") is None:
        raise InvalidSettings(
            ["KONTEXT_STORE_URL needs a library that is not installed: pip install 'kontext-edit[team]'."]
        )
    bucket = import_module("kontext_edit.store.bucket")
    return cast("Store", bucket.open_bucket(url, links=links, link_seconds=link_seconds, clock=clock))
