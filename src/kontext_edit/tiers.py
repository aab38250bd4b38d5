"""THE SPEC: what FLUX.1 Kontext takes on each tier, and what it costs.

The only place where a parameter or a price is written down. Validation, the wire body, the tools' flat
schema, prices, the command line's options, the sandbox's checks and the tables in the README are read
from here; `tests/upstream/` holds the vendor's own facts against it.

Sources: [guide] is Novita's guide to FLUX.1 Kontext, prices checked there on 2026-06-26; [ref] is the
reference page of the Dev endpoint; [docs] are the reference pages of Pro and Max, read in 2026-02.
"""

from decimal import Decimal
from typing import Annotated, Any, ClassVar, Literal

from pydantic import MISSING, BaseModel, ConfigDict, Field

PRICES_AS_OF = "2026-06-26"
"""The day on which [guide] checked its prices."""

_SIDE = r"(25[6-9]|2[6-9][0-9]|[3-9][0-9][0-9]|1[0-4][0-9][0-9]|15[0-2][0-9]|153[0-6])"
"""A whole number from 256 to 1536 [ref]."""

TierName = Literal["dev", "pro", "max"]
Ratio = Literal["1:1", "16:9", "4:3", "3:2", "2:3", "3:4", "9:16", "9:21", "21:9"]

Prompt = Annotated[
    str,
    Field(
        pattern=r"\S",
        description="Name the subject, the change, and what must stay the same.",
    ),
]
Images = Annotated[list[str], Field(min_length=1, max_length=4, description="The pictures to edit.")]
FastMode = Annotated[bool, Field(description="Cheaper, somewhat lower quality.")]
NumImages = Annotated[int, Field(ge=1, le=4, description="Variants; each is billed.")]
Seed = Annotated[
    int, Field(ge=-1, le=2147483647, description="Repeat a number to keep a look; -1 is random.")
]
Guidance = Annotated[float, Field(ge=1, le=20, description="How literally to follow the prompt.")]
AspectRatio = Annotated[Ratio, Field(description="Shape of the result.")]
SafetyTolerance = Annotated[
    Literal["1", "2", "3", "4", "5"],
    Field(description="1 strict to 5 permissive; no effect on edits."),
]


class Kontext(BaseModel):
    """What every tier takes, and what differs beside the parameters.

    A parameter that upstream leaves without a default is MISSING here, and only what a caller chose is
    sent (see `body`).
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    tier: ClassVar[str]
    endpoint: ClassVar[str]
    """Path below the base URL [guide]."""
    price_usd: ClassVar[Decimal]
    """Novita's price of one image [guide]."""
    fast_price_usd: ClassVar[Decimal | None] = None
    """The same in fast mode, on the tier that has it [guide]."""
    bfl_price_usd: ClassVar[Decimal | None] = None
    """What Black Forest Labs charges for the same image directly [guide]."""
    usual_seconds: ClassVar[tuple[float, float]]
    """How long an edit tends to take, from quick to slow; a first guess until the journal knows better."""
    suits: ClassVar[str]
    """What the tier is best for [guide]."""

    prompt: Prompt
    images: Images

    def body(self, images: list[str]) -> dict[str, Any]:
        """The request as it goes over the wire: the caller's choices, and `images` as upstream reads them."""
        return {**self.chosen, "prompt": self.prompt, "images": images}

    @property
    def chosen(self) -> dict[str, Any]:
        """The parameters that the caller set, without the prompt and the pictures."""
        return self.model_dump(exclude_unset=True, exclude={"prompt", "images"})


class Dev(Kontext):
    """FLUX.1 Kontext Dev: the cheapest, with control over steps and exact size [ref]."""

    tier = "dev"
    endpoint = "/v3/async/flux-1-kontext-dev"
    price_usd = Decimal("0.0225")
    fast_price_usd = Decimal("0.018")
    usual_seconds = (3.0, 9.0)
    suits = "volume, cost, exact pixel sizes; with fast_mode drafts and simple changes"

    fast_mode: FastMode = False
    size: (
        Annotated[
            str,
            Field(pattern=rf"^{_SIDE}\*{_SIDE}$", description="width*height in pixels, each 256-1536."),
        ]
        | MISSING
    ) = MISSING
    num_inference_steps: Annotated[
        int,
        Field(ge=1, le=50, description="20 do for simple edits, 28-35 for complex ones."),
    ] = 28
    guidance_scale: Guidance = 2.5
    num_images: NumImages = 1
    seed: Seed = -1
    output_format: Annotated[Literal["jpeg", "png", "webp"], Field(description="File format.")] = "jpeg"


class Pro(Kontext):
    """FLUX.1 Kontext Pro: production edits at a middle price [guide, docs]."""

    tier = "pro"
    endpoint = "/v3/async/flux-1-kontext-pro"
    price_usd = Decimal("0.036")
    bfl_price_usd = Decimal("0.04")
    usual_seconds = (5.0, 14.0)
    suits = "most production edits; the place to start"

    guidance_scale: Guidance = 3.5
    aspect_ratio: AspectRatio | MISSING = MISSING
    seed: Seed = -1
    safety_tolerance: SafetyTolerance = "2"


class Max(Kontext):
    """FLUX.1 Kontext Max: the interface of Pro, the highest consistency [guide, docs]."""

    tier = "max"
    endpoint = "/v3/async/flux-1-kontext-max"
    price_usd = Decimal("0.072")
    bfl_price_usd = Decimal("0.08")
    usual_seconds = (6.0, 18.0)
    suits = "identity over a batch, fine or stylised lettering, final assets"

    guidance_scale: Guidance = 3.5
    aspect_ratio: AspectRatio | MISSING = MISSING
    seed: Seed | MISSING = MISSING
    safety_tolerance: SafetyTolerance = "2"


TIERS: dict[str, type[Kontext]] = {model.tier: model for model in (Dev, Pro, Max)}
"""The tiers by name, from the cheapest to the dearest."""

DEFAULT_TIER = Pro.tier


def owners(parameter: str) -> list[str]:
    """The tiers that take `parameter`, cheapest first."""
    return [name for name, model in TIERS.items() if parameter in model.model_fields]
