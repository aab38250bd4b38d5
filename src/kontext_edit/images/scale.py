"""Sizes and resampling."""

from PIL import Image


def fitted(size: tuple[int, int], side: int) -> tuple[int, int]:
    """`size` scaled down so that no side exceeds `side`; never up, never to nothing."""
    scale = min(1.0, side / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def resized(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """The picture at another size, resampled with care; where it has alpha, weighted by it."""
    if size == image.size:
        return image
    return image.resize(  # pyright: ignore[reportUnknownMemberType]  # numpy is optional
        size, Image.Resampling.LANCZOS, reducing_gap=2.0
    )
