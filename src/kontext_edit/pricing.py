"""What a request costs, on every tier. Money is `Decimal` throughout; nothing is rounded."""

from dataclasses import dataclass
from decimal import Decimal

from kontext_edit.tiers import TIERS, Kontext, owners

MOVES_THE_PRICE = ("fast_mode", "num_images")
"""The parameters that change what an edit costs [guide]."""


@dataclass(frozen=True, slots=True)
class Quote:
    """The price of a number of equal edits, in US dollars."""

    tier: str
    fast_mode: bool
    image_usd: Decimal
    images: int
    """Images an edit."""
    edits: int
    bfl_image_usd: Decimal | None
    """What Black Forest Labs charges for the same image; None where [guide] names no price."""

    @property
    def total_usd(self) -> Decimal:
        """All images of all edits."""
        return self.image_usd * self.images * self.edits

    @property
    def bfl_total_usd(self) -> Decimal | None:
        """The same bought from Black Forest Labs."""
        return None if self.bfl_image_usd is None else self.bfl_image_usd * self.images * self.edits


def quote(tier: str, *, fast_mode: bool = False, images: int = 1, edits: int = 1) -> Quote:
    """The price of `edits` edits with `images` images each."""
    model = TIERS[tier]
    fast = model.fast_price_usd if fast_mode else None
    return Quote(
        tier=tier,
        fast_mode=fast is not None,
        image_usd=model.price_usd if fast is None else fast,
        images=images,
        edits=edits,
        bfl_image_usd=model.bfl_price_usd,
    )


def quotes(*, fast_mode: bool | None = None, images: int = 1, edits: int = 1) -> list[Quote]:
    """All tiers side by side for the same number of pictures, cheapest first.

    A tier without variants needs an edit for each of them. Where `fast_mode` is open, both prices of a
    tier that has it are told.
    """
    side_by_side: list[Quote] = []
    for tier, model in TIERS.items():
        variants = tier in owners("num_images")
        shape = {"images": images if variants else 1, "edits": edits if variants else edits * images}
        modes = (True, False) if fast_mode is None else (fast_mode,)
        side_by_side += [
            quote(tier, fast_mode=fast, **shape)
            for fast in (modes if model.fast_price_usd is not None else (False,))
        ]
    return sorted(side_by_side, key=lambda each: each.total_usd)


def edit_price(edit: Kontext) -> Decimal:
    """What this edit costs by list price."""
    fast_mode = bool(getattr(edit, "fast_mode", False))
    return quote(edit.tier, fast_mode=fast_mode, images=int(getattr(edit, "num_images", 1))).total_usd


def price_rows() -> list[tuple[str, ...]]:
    """For the documents: a row for each price, cheapest first."""
    return [
        (
            f"`{each.tier}`" + (", `fast_mode`" if each.fast_mode else ""),
            usd(each.image_usd),
            usd(each.bfl_image_usd) if each.bfl_image_usd else "–",
            TIERS[each.tier].suits,
        )
        for each in quotes()
    ]


def usd(amount: Decimal) -> str:
    """An amount as it is written everywhere: `"0"`, `"0.0225"`, `"360.00"`."""
    if not amount:
        return "0"
    whole, _, cents = f"{amount:f}".partition(".")
    return f"{whole}.{cents.rstrip('0'):0<2}"
