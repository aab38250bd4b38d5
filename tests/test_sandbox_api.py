"""The sandbox's API: the documented shapes and prices, over real HTTP messages."""

from base64 import b64encode
from decimal import Decimal
from typing import Any

import pytest
from PIL import Image
from starlette.types import Message
from tests.sandbox_bench import (
    BALANCE,
    COFFEE,
    DEV,
    FAILED,
    MAX,
    PRO,
    PROCESSING,
    QUEUED,
    RESULT,
    SUCCEED,
    Bench,
    assert_error,
    encoded,
    plain,
)

from kontext_edit.sandbox.tasks import AfterPolls, AfterSeconds, Submission


@pytest.fixture
def bench() -> Bench:
    return Bench()


# The way of an edit


async def test_an_edit_goes_from_a_task_id_to_a_picture(bench: Bench) -> None:
    source = f"data:image/png;base64,{b64encode(COFFEE.read_bytes()).decode()}"
    task_id = await bench.submit(prompt="Make it black and white", images=[source], seed=7)
    result = await bench.poll(task_id)
    (image,) = result["images"]
    url = image.pop("image_url")
    assert url.startswith(f"http://localhost/results/{task_id}/1.png?expires=")
    assert result == {
        "task": {
            "task_id": task_id,
            "task_type": "FLUX_1_KONTEXT_PRO",
            "status": SUCCEED,
            "reason": "",
            "eta": 0,
            "progress_percent": 100,
        },
        "images": [
            {
                "image_url_ttl": 3600,
                "image_type": "png",
                "nsfw_detection_result": {"valid": True, "confidence": 0.1},
            }
        ],
        "extra": {
            "seed": 7,
            "enable_nsfw_detection": False,
            "debug_info": {
                "submit_time_ms": 1_800_000_000_000,
                "execute_time_ms": 0,
                "complete_time_ms": 1_800_000_000_000,
            },
        },
    }
    picture = await bench.picture(url)
    assert (picture.format, picture.size) == ("PNG", (600, 400))


async def test_dev_gives_the_number_size_and_format_asked_for(bench: Bench) -> None:
    pictures = await bench.pictures(
        DEV, images=[plain()], num_images=3, size="320*512", output_format="webp", fast_mode=True
    )
    assert [(picture.format, picture.size) for picture in pictures] == [("WEBP", (320, 512))] * 3
    assert len({picture.tobytes() for picture in pictures}) == 3


async def test_dev_answers_in_jpeg_unless_told_otherwise(bench: Bench) -> None:
    (picture,) = await bench.pictures(DEV, images=[plain()])
    assert picture.format == "JPEG"


@pytest.mark.parametrize("path", [PRO, MAX])
async def test_pro_and_max_keep_an_aspect_ratio(bench: Bench, path: str) -> None:
    (picture,) = await bench.pictures(path, images=[plain()], aspect_ratio="21:9")
    assert picture.size == (1568, 672)


async def test_without_images_it_is_text_to_image_as_on_the_wire(bench: Bench) -> None:
    (picture,) = await bench.pictures(MAX)
    assert picture.size == (1024, 1024)


async def test_a_web_address_is_named_and_never_fetched(bench: Bench) -> None:
    """The host does not exist: a fetch would fail."""
    sources = ["https://pictures.invalid/holiday%20in%20Spain.jpg?x=1", "HTTP://pictures.invalid"]
    pictures = [(await bench.pictures(images=[source]))[0] for source in sources]
    assert pictures[0].tobytes() != pictures[1].tobytes()


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
async def test_each_of_the_three_formats_is_taken_in_both_encodings(bench: Bench, kind: str) -> None:
    data = encoded(Image.new("RGB", (300, 280), "teal"), kind)
    pictures = await bench.pictures(images=[data, f"data:image/{kind};base64,{data}"])
    assert pictures[0].size == (300, 280)


async def test_a_picture_is_turned_upright_by_its_exif(bench: Bench) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    (picture,) = await bench.pictures(images=[encoded(Image.new("RGB", (400, 300)), "jpeg", exif=exif)])
    assert picture.size == (300, 400)


async def test_a_link_gives_the_same_bytes_each_time(bench: Bench) -> None:
    result = await bench.poll(await bench.submit(images=[plain()]))
    url = result["images"][0]["image_url"]
    first, second = await bench.client.get(url), await bench.client.get(url)
    assert first.content == second.content


async def test_the_base_url_is_where_links_lead() -> None:
    bench = Bench(base_url="http://127.0.0.1:9/")
    result = await bench.poll(await bench.submit())
    assert result["images"][0]["image_url"].startswith("http://127.0.0.1:9/results/")


# Seeds


@pytest.mark.parametrize("path", [DEV, PRO, MAX])
async def test_a_seed_repeats_its_picture(bench: Bench, path: str) -> None:
    one, same, other = [
        (await bench.pictures(path, images=[plain("peru")], seed=seed))[0].tobytes() for seed in (5, 5, 6)
    ]
    assert one == same
    assert one != other


@pytest.mark.parametrize("body", [{}, {"seed": -1}])
async def test_a_random_seed_is_told_and_repeats_the_picture(bench: Bench, body: dict[str, Any]) -> None:
    source = plain("peru")
    result = await bench.poll(await bench.submit(images=[source], **body))
    seed = result["extra"]["seed"]
    assert 0 <= seed < 2**31
    first = await bench.picture(result["images"][0]["image_url"])
    (again,) = await bench.pictures(images=[source], seed=seed)
    assert first.tobytes() == again.tobytes()


# Progress


async def test_after_polls_it_is_queued_first_then_processing_then_done() -> None:
    bench = Bench(AfterPolls(3))
    task_id = await bench.submit()
    seen = [await bench.status(task_id) for _ in range(5)]
    assert seen == [QUEUED, PROCESSING, PROCESSING, SUCCEED, SUCCEED]


async def test_after_seconds_it_is_done_by_the_clock() -> None:
    bench = Bench(AfterSeconds(2))
    task_id = await bench.submit()
    assert await bench.status(task_id) == QUEUED
    bench.clock.seconds = 1
    unfinished = await bench.poll(task_id)
    assert (unfinished["task"]["status"], unfinished["task"]["progress_percent"]) == (PROCESSING, 0)
    assert unfinished["images"] == []
    bench.clock.seconds = 60
    debug_info = (await bench.poll(task_id))["extra"]["debug_info"]
    assert debug_info["execute_time_ms"] == 2_000, "done when it was done, not when it was looked at"


# Links


async def test_a_link_expires_an_hour_after_it_was_given_and_asking_again_brings_a_new_one() -> None:
    bench = Bench(AfterSeconds(2))
    task_id = await bench.submit(images=[plain()])
    bench.clock.seconds = 100
    url = (await bench.poll(task_id))["images"][0]["image_url"]
    bench.clock.seconds = 3_699
    assert (await bench.client.get(url)).status_code == 200
    bench.clock.seconds = 3_700
    assert_error(await bench.client.get(url), 403, "LINK_EXPIRED")
    renewed = (await bench.poll(task_id))["images"][0]["image_url"]
    assert renewed != url
    assert (await bench.client.get(renewed)).status_code == 200


async def test_a_link_lives_as_long_as_the_sandbox_says() -> None:
    bench = Bench(link_seconds=5)
    image = (await bench.poll(await bench.submit()))["images"][0]
    assert image["image_url_ttl"] == 5
    bench.clock.seconds = 5
    assert_error(await bench.client.get(image["image_url"]), 403, "LINK_EXPIRED")


@pytest.mark.parametrize(
    ("part", "forged"),
    [
        ("signature=", "signature=0"),
        ("signature=", "signature=%C3%A9"),
        ("&signature=", "&other="),
        ("expires=1", "expires=9"),
        ("expires=", "expires=x"),
        ("/1.png", "/2.png"),
        ("/1.png", "/1.jpeg"),
    ],
)
async def test_a_forged_link_is_refused(bench: Bench, part: str, forged: str) -> None:
    url = (await bench.poll(await bench.submit()))["images"][0]["image_url"]
    assert_error(await bench.client.get(url.replace(part, forged, 1)), 403, "LINK_NOT_SIGNED")


async def test_a_link_of_another_instance_is_refused(bench: Bench) -> None:
    other = Bench()
    url = (await other.poll(await other.submit()))["images"][0]["image_url"]
    assert_error(await bench.client.get(url), 403, "LINK_NOT_SIGNED")


# Keys


@pytest.mark.parametrize(
    "header", [{"Authorization": ""}, {"Authorization": "Bearer "}, {"Authorization": "x"}]
)
@pytest.mark.parametrize(("method", "path"), [("POST", PRO), ("GET", RESULT), ("GET", BALANCE)])
async def test_a_missing_key_is_refused_everywhere(
    bench: Bench, header: dict[str, str], method: str, path: str
) -> None:
    answer = await bench.client.request(method, path, headers=header)
    assert_error(answer, 401, "MISSING_API_KEY", "Bearer")


async def test_only_the_given_keys_are_admitted() -> None:
    bench = Bench(keys=frozenset({"right"}))
    wrong = await bench.client.get(BALANCE, headers={"Authorization": "Bearer wrong"})
    assert_error(wrong, 403, "INVALID_API_KEY")
    assert "wrong" not in wrong.text
    right = await bench.client.get(BALANCE, headers={"Authorization": "bearer right"})
    assert right.status_code == 200


# What is not there


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("GET", PRO),
        ("POST", RESULT),
        ("POST", f"{PRO}/"),
        ("POST", "/v3/async/flux-1-kontext-ultra"),
    ],
)
async def test_what_the_api_does_not_have_is_said_in_its_own_words(
    bench: Bench, method: str, path: str
) -> None:
    assert_error(await bench.client.request(method, path), 404, "API_NOT_FOUND", f"{method} {path}")


async def test_an_unknown_task_is_not_found(bench: Bench) -> None:
    assert_error(await bench.client.get(RESULT, params={"task_id": "x"}), 404, "TASK_NOT_FOUND")
    assert_error(await bench.client.get(RESULT), 400, "INVALID_REQUEST_BODY", "task_id")


async def test_a_client_that_hangs_up_while_it_sends_leaves_nothing_behind(bench: Bench) -> None:
    sent: list[Message] = []
    asked = iter([{"type": "http.request", "body": b"{", "more_body": True}, {"type": "http.disconnect"}])

    async def receive() -> Message:
        return next(asked)

    async def send(message: Message) -> None:
        sent.append(message)

    headers = [(b"authorization", b"Bearer a-key")]
    scope = {"type": "http", "method": "POST", "path": PRO, "headers": headers, "query_string": b""}
    await bench.sandbox.app(scope, receive, send)
    assert sent[0]["status"] == 400
    assert bench.sandbox.submissions == []


# Words that ask for errors


async def test_a_prompt_can_ask_for_a_failure() -> None:
    bench = Bench(AfterPolls(1))
    task_id = await bench.submit(prompt="warmer Sandbox:Fail")
    assert await bench.status(task_id) == QUEUED
    result = await bench.poll(task_id)
    assert result["task"]["status"] == FAILED
    assert "sandbox:fail" in result["task"]["reason"]
    assert result["images"] == []


async def test_a_prompt_can_ask_for_a_rejection(bench: Bench) -> None:
    answer = await bench.client.post(PRO, json={"prompt": "sandbox:reject"})
    assert_error(answer, 400, "ILLEGAL_PROMPT")
    assert bench.sandbox.balance_usd == 100


# Money


@pytest.mark.parametrize(
    ("path", "body", "price"),
    [
        (DEV, {}, "0.0225"),
        (DEV, {"fast_mode": True}, "0.018"),
        (DEV, {"num_images": 4}, "0.09"),
        (DEV, {"num_images": 4, "fast_mode": True}, "0.072"),
        (PRO, {}, "0.036"),
        (MAX, {}, "0.072"),
    ],
)
async def test_each_accepted_image_is_billed_by_list_price(
    bench: Bench, path: str, body: dict[str, Any], price: str
) -> None:
    task_id = await bench.submit(path, **body)
    sent = {"prompt": "warmer", **body}
    expected = Submission(task_id, path.rsplit("-", 1)[-1], sent, Decimal(price))
    assert bench.sandbox.submissions == [expected]
    answer = (await bench.client.get(BALANCE)).json()
    units = str(int((100 - Decimal(price)) * 10_000))
    assert answer == {
        "availableBalance": units,
        "cashBalance": units,
        "creditLimit": "0",
        "outstandingInvoices": "0",
    }


async def test_an_edit_beyond_the_balance_is_refused_and_costs_nothing() -> None:
    bench = Bench(balance_usd=Decimal("0.05"))
    await bench.submit()
    assert_error(
        await bench.client.post(PRO, json={"prompt": "warmer"}), 400, "BILLING_BALANCE_NOT_ENOUGH", "0.014"
    )
    assert bench.sandbox.balance_usd == Decimal("0.014")
    assert len(bench.sandbox.submissions) == 1


# Memory


async def test_the_link_of_a_forgotten_task_leads_nowhere() -> None:
    bench = Bench()
    url = (await bench.poll(await bench.submit()))["images"][0]["image_url"]
    for _ in range(1_000):
        await bench.submit()
    assert len(bench.sandbox.submissions) == 1_000
    assert_error(await bench.client.get(url), 404, "TASK_NOT_FOUND")
