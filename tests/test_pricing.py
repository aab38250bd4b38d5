"""What edits cost: the vendor's prices, exact to the last digit."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.facts import tiers

from kontext_edit.pricing import MOVES_THE_PRICE, Quote, edit_price, quote, quotes, usd
from kontext_edit.request import parse_edit
from kontext_edit.tiers import TIERS

AMOUNTS = st.decimals(min_value=0, max_value=10**12, allow_nan=False, allow_infinity=False)


def edit_costs(**arguments: object) -> str:
    return usd(edit_price(parse_edit({"prompt": "x", "images": ["a.png"]} | arguments, "pro").edit))


@pytest.mark.parametrize(
    ("tier", "fast_mode", "price"),
    [("dev", False, "0.0225"), ("dev", True, "0.018"), ("pro", False, "0.036"), ("max", False, "0.072")],
)
def test_an_image_costs_what_the_vendor_says(tier: str, fast_mode: bool, price: str) -> None:  # noqa: FBT001 - a column of the table
    told = tiers()[tier]
    assert usd(quote(tier, fast_mode=fast_mode).total_usd) == price
    assert price == (told.fast_image_usd if fast_mode else told.image_usd)


def test_ten_thousand_pro_edits_are_the_guides_own_example() -> None:
    ten_thousand = quote("pro", edits=10_000)
    assert usd(ten_thousand.total_usd) == "360.00"
    assert ten_thousand.bfl_total_usd is not None
    assert usd(ten_thousand.bfl_total_usd) == "400.00"


def test_every_variant_of_every_edit_is_billed() -> None:
    assert usd(quote("dev", images=4, edits=10).total_usd) == "0.90"
    assert usd(quote("dev", fast_mode=True, images=4, edits=10).total_usd) == "0.72"


def test_a_quote_tells_its_parts() -> None:
    assert quote("dev", fast_mode=True, images=4, edits=10) == Quote(
        tier="dev", fast_mode=True, image_usd=Decimal("0.018"), images=4, edits=10, bfl_image_usd=None
    )


@pytest.mark.parametrize("tier", ["pro", "max"])
def test_a_tier_without_fast_mode_costs_the_same_with_it(tier: str) -> None:
    assert quote(tier, fast_mode=True) == quote(tier)
    assert quote(tier, fast_mode=True).fast_mode is False


@pytest.mark.parametrize("tier", TIERS)
def test_bfl_is_compared_only_where_its_price_is_known(tier: str) -> None:
    total, told = quote(tier, edits=100).bfl_total_usd, tiers()[tier].bfl_image_usd
    assert total == (None if told is None else Decimal(told) * 100)


def shape(each: Quote) -> tuple[str, bool, int, int, str]:
    return each.tier, each.fast_mode, each.images, each.edits, usd(each.total_usd)


def test_all_tiers_stand_side_by_side_cheapest_first_and_dev_at_both_prices() -> None:
    assert list(map(shape, quotes())) == [
        ("dev", True, 1, 1, "0.018"),
        ("dev", False, 1, 1, "0.0225"),
        ("pro", False, 1, 1, "0.036"),
        ("max", False, 1, 1, "0.072"),
    ]


def test_a_mode_that_is_chosen_is_the_only_one_told() -> None:
    assert [each.fast_mode for each in quotes(fast_mode=True)] == [True, False, False]
    assert [each.fast_mode for each in quotes(fast_mode=False)] == [False, False, False]


def test_a_tier_without_variants_needs_an_edit_for_each_of_them() -> None:
    """Side by side means the same number of pictures."""
    assert list(map(shape, quotes(fast_mode=False, images=4, edits=10))) == [
        ("dev", False, 4, 10, "0.90"),
        ("pro", False, 1, 40, "1.44"),
        ("max", False, 1, 40, "2.88"),
    ]


def test_an_edits_price_follows_from_its_parameters() -> None:
    assert edit_costs(tier="dev", num_images=4) == "0.09"
    assert edit_costs(tier="dev", num_images=4, fast_mode=True) == "0.072"
    assert edit_costs(tier="dev", fast_mode=False) == "0.0225"
    assert edit_costs(tier="pro", guidance_scale=7.0) == "0.036"
    assert edit_costs(tier="max", seed=7) == "0.072"


def test_only_the_parameters_that_are_named_move_the_price() -> None:
    moving = {"fast_mode": True, "num_images": 3}
    assert set(moving) == set(MOVES_THE_PRICE)
    still = {"size": "512*512", "num_inference_steps": 50, "seed": 1, "output_format": "png"}
    assert edit_costs(tier="dev", **still) == edit_costs(tier="dev")
    assert all(
        edit_costs(tier="dev", **{name: value}) != edit_costs(tier="dev") for name, value in moving.items()
    )


@given(
    tier=st.sampled_from(list(TIERS)),
    fast_mode=st.booleans(),
    images=st.integers(1, 4),
    edits=st.integers(1, 1_000_000),
)
def test_a_total_is_a_sum_of_images_without_any_rounding(
    *, tier: str, fast_mode: bool, images: int, edits: int
) -> None:
    told = tiers()[tier]
    price = (told.fast_image_usd if fast_mode else None) or told.image_usd or ""
    in_ten_thousandths = int(price.removeprefix("0.").ljust(4, "0"))
    total = quote(tier, fast_mode=fast_mode, images=images, edits=edits).total_usd
    assert type(total) is Decimal
    assert total * 10_000 == in_ten_thousandths * images * edits


@pytest.mark.parametrize(
    ("amount", "written"),
    [
        ("0", "0"),
        ("0.000", "0"),
        ("0E+3", "0"),
        ("360", "360.00"),
        ("3.6E+2", "360.00"),
        ("0.9", "0.90"),
        ("0.0225", "0.0225"),
        ("0.02250", "0.0225"),
        ("1E-7", "0.0000001"),
        ("-0.5", "-0.50"),
    ],
)
def test_an_amount_is_written_plainly(amount: str, written: str) -> None:
    assert usd(Decimal(amount)) == written


@given(AMOUNTS)
def test_a_written_amount_reads_back_with_at_least_two_decimals_and_no_exponent(amount: Decimal) -> None:
    written = usd(amount)
    assert Decimal(written) == amount
    assert set(written) <= set("0123456789.")
    assert written == "0" or len(written.partition(".")[2]) >= 2
