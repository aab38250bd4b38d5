"""A dear edit needs the person's word: asked in both eras of the protocol, and never stood in for."""

from decimal import Decimal
from types import SimpleNamespace
from typing import Any, Literal

import mcp_types as types
import pytest
from mcp.client.client import Client
from mcp.client.context import ClientRequestContext
from mcp.shared.exceptions import MCPError
from tests.clock import FakeClock
from tests.house import Api, Person, client, everything, opened, photo, text, wanted

from kontext_edit.caller import Consent
from kontext_edit.errors import ConsentMissing
from kontext_edit.mcp_caller import McpCaller
from kontext_edit.task import Status

ERAS = ("legacy", "auto")
ABOVE = {"KONTEXT_CONFIRM_ABOVE_USD": "0.03"}
SETTING = "KONTEXT_CONFIRM_ABOVE_USD (0.03 USD)"

Action = Literal["accept", "decline", "cancel"]


class Answering:
    """A person who is asked through the client, and answers each question alike."""

    def __init__(self, action: Action) -> None:
        self.action: Action = action
        self.asked: list[types.ElicitRequestParams] = []

    async def __call__(
        self, context: ClientRequestContext, params: types.ElicitRequestParams
    ) -> types.ElicitResult:
        assert context.session
        self.asked.append(params)
        return types.ElicitResult(action=self.action, content={} if self.action == "accept" else None)


def arguments(environ: dict[str, str], **more: Any) -> dict[str, Any]:
    return {"prompt": "Make it blue", "images": [photo(environ)], **more}


@pytest.mark.parametrize("era", ERAS)
async def test_what_the_person_agrees_to_is_bought_once(
    era: str, environ: dict[str, str], clock: FakeClock
) -> None:
    api, person = Api(clock), Answering("accept")
    async with client(environ | ABOVE, api, clock, era=era, elicitation=person) as assistant:
        result = await assistant.call_tool("edit_image", arguments(environ))
    assert result.structured_content["status"] == "succeeded"
    assert len(api.bodies) == 1
    (asked,) = person.asked
    assert isinstance(asked, types.ElicitRequestFormParams)
    assert asked.message == "Buy this edit for 0.036 USD? Kontext pro: Make it blue"
    assert asked.requested_schema == {"type": "object", "properties": {}}


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize(("action", "did"), [("decline", "declined"), ("cancel", "closed the question")])
async def test_without_the_persons_word_nothing_is_sent(
    action: Action, did: str, era: str, environ: dict[str, str], clock: FakeClock
) -> None:
    api, person = Api(clock), Answering(action)
    async with client(environ | ABOVE, api, clock, era=era, elicitation=person) as assistant:
        result = await assistant.call_tool("edit_image", arguments(environ))
        listed = await assistant.call_tool("list_tasks", {})
    assert result.is_error
    error = result.structured_content["error"]
    assert (error["code"], error["billed"], error["retryable"]) == ("consent_missing", "no", False)
    for part in ("0.036 USD", f"above {SETTING}", f"the person {did}", "Nothing was sent."):
        assert part in error["message"]
    assert "What fits: dev with fast_mode (0.018 USD), dev (0.0225 USD)." in error["hint"]
    assert listed.structured_content["tasks"] == []
    assert api.bodies == []


@pytest.mark.parametrize("era", ERAS)
async def test_a_client_that_cannot_ask_a_person_is_refused_with_what_fits(
    era: str, environ: dict[str, str], clock: FakeClock
) -> None:
    api = Api(clock)
    async with client(environ | ABOVE, api, clock, era=era) as assistant:
        refused = await assistant.call_tool("edit_image", arguments(environ, force_new=True))
        fitting = await assistant.call_tool("edit_image", arguments(environ, tier="dev"))
    assert refused.is_error
    for part in ("costs 0.036 USD", SETTING, "this client cannot ask the person", "Nothing was sent."):
        assert part in text(refused)
    assert "Only the person can raise the setting" in text(refused)
    assert "What fits: dev with fast_mode (0.018 USD), dev (0.0225 USD)." in text(refused)
    assert fitting.structured_content["status"] == "succeeded"
    assert [body["prompt"] for body in api.bodies] == ["Make it blue"]


@pytest.mark.parametrize("era", ERAS)
async def test_no_argument_stands_in_for_the_person(
    era: str, environ: dict[str, str], clock: FakeClock
) -> None:
    api = Api(clock)
    tried = ["confirm", "confirmed", "consent", "approved", "max_cost_usd", "confirm_above_usd", "budget"]
    async with client(environ | ABOVE, api, clock, era=era) as assistant:
        (schema,) = [
            tool.input_schema for tool in (await assistant.list_tools()).tools if tool.name == "edit_image"
        ]
        for name in tried:
            result = await assistant.call_tool("edit_image", arguments(environ, **{name: True}))
            assert result.structured_content["error"]["code"] == "invalid_arguments"
    assert not set(tried) & set(schema["properties"])
    assert api.bodies == []


@pytest.mark.parametrize("era", ERAS)
async def test_the_sandbox_costs_nothing_and_never_asks(
    era: str, environ: dict[str, str], clock: FakeClock
) -> None:
    api, person = Api(clock), Answering("decline")
    more = {"KONTEXT_CONFIRM_ABOVE_USD": "0", "KONTEXT_PROVIDER": "sandbox"}
    async with client(environ | more, api, clock, era=era, elicitation=person) as assistant:
        result = await assistant.call_tool("edit_image", arguments(environ, tier="max"))
    assert result.structured_content["status"] == "succeeded"
    assert person.asked == []


@pytest.mark.parametrize(("limit", "asks"), [("0", 1), ("0.0359", 1), ("0.036", 0), ("none", 0), (None, 0)])
async def test_only_what_costs_more_than_the_setting_is_asked_about(
    limit: str | None, asks: int, environ: dict[str, str], clock: FakeClock
) -> None:
    person = Person()
    more = {} if limit is None else {"KONTEXT_CONFIRM_ABOVE_USD": limit}
    async with opened(environ, Api(clock), clock, **more) as app:
        outcome = await app.editor.edit(wanted(photo(environ)), person)
    assert outcome.task.status is Status.SUCCEEDED
    assert len(person.asked) == asks


async def test_all_pictures_of_an_edit_count(environ: dict[str, str], clock: FakeClock) -> None:
    person = Person(Consent.IMPOSSIBLE)
    call = wanted(photo(environ), tier="dev", num_images=4)
    async with opened(environ, Api(clock), clock, KONTEXT_CONFIRM_ABOVE_USD="0.089") as app:
        with pytest.raises(ConsentMissing, match=r"costs 0\.09 USD"):
            await app.editor.edit(call, person)
        assert await everything(app) == []


async def test_a_client_that_refuses_to_ask_counts_as_one_that_cannot(
    environ: dict[str, str], clock: FakeClock
) -> None:
    """It has announced the capability, and answers the question with an error."""

    async def broken(context: ClientRequestContext, params: types.ElicitRequestParams) -> types.ErrorData:
        assert context.session
        assert params.message
        return types.ErrorData(code=types.INTERNAL_ERROR, message="no window")

    api = Api(clock)
    async with client(environ | ABOVE, api, clock, era="legacy", elicitation=broken) as assistant:
        result = await assistant.call_tool("edit_image", arguments(environ))
    assert result.structured_content["error"]["code"] == "consent_missing"
    assert "cannot ask the person" in text(result)
    assert api.bodies == []


@pytest.mark.parametrize(
    "capabilities",
    [
        None,
        types.ClientCapabilities(),
        types.ClientCapabilities(
            elicitation=types.ElicitationCapability(url=types.UrlElicitationCapability())
        ),
    ],
    ids=["none", "no elicitation", "links only"],
)
async def test_a_client_without_forms_cannot_ask(capabilities: types.ClientCapabilities | None) -> None:
    context: Any = SimpleNamespace(session=SimpleNamespace(client_capabilities=capabilities))
    workshop: Any = None
    caller = McpCaller(context, types.CallToolRequestParams(name="edit_image"), workshop)
    assert await caller.consent("Buy it?", "it 1.00") is Consent.IMPOSSIBLE


class Round:
    """One try of a 2026-07-28 client that drives the questions by hand."""

    def __init__(self, assistant: Client) -> None:
        self._assistant = assistant

    async def ask(self, arguments: dict[str, Any]) -> types.InputRequiredResult:
        asked = await self._assistant.session.call_tool("edit_image", arguments, allow_input_required=True)
        assert isinstance(asked, types.InputRequiredResult)
        return asked

    async def answer(
        self, arguments: dict[str, Any], state: str | None, action: Action = "accept"
    ) -> types.CallToolResult | types.InputRequiredResult:
        return await self._assistant.session.call_tool(
            "edit_image",
            arguments,
            input_responses={"consent": types.ElicitResult(action=action, content={})},
            request_state=state,
            allow_input_required=True,
        )


async def test_an_answer_buys_once_and_is_not_taken_again(environ: dict[str, str], clock: FakeClock) -> None:
    api = Api(clock)
    wish = arguments(environ, force_new=True)
    async with client(environ | ABOVE, api, clock, elicitation=Answering("accept")) as assistant:
        asked = await Round(assistant).ask(wish)
        bought = await Round(assistant).answer(wish, asked.request_state)
        replayed = await Round(assistant).answer(wish, asked.request_state)
    assert isinstance(bought, types.CallToolResult)
    assert bought.structured_content["status"] == "succeeded"
    assert isinstance(replayed, types.InputRequiredResult)
    assert replayed.request_state != asked.request_state
    assert len(api.bodies) == 1


@pytest.mark.parametrize(
    "other", [{"tier": "max"}, {"prompt": "Make it gold"}, {"guidance_scale": 4.0}, {"force_new": True}]
)
async def test_an_answer_is_for_the_arguments_that_were_asked_about(
    other: dict[str, Any], environ: dict[str, str], clock: FakeClock
) -> None:
    api = Api(clock)
    async with client(environ | ABOVE, api, clock, elicitation=Answering("accept")) as assistant:
        asked = await Round(assistant).ask(arguments(environ))
        with pytest.raises(MCPError, match="requestState"):
            await Round(assistant).answer(arguments(environ, **other), asked.request_state)
    assert api.bodies == []


async def test_an_answer_is_for_the_picture_that_was_asked_about(
    environ: dict[str, str], clock: FakeClock
) -> None:
    """The same path may hold another picture by the time of the answer."""
    api = Api(clock)
    wish = arguments(environ)
    async with client(environ | ABOVE, api, clock, elicitation=Answering("accept")) as assistant:
        asked = await Round(assistant).ask(wish)
        photo(environ, colour="green")
        again = await Round(assistant).answer(wish, asked.request_state)
    assert isinstance(again, types.InputRequiredResult)
    assert api.bodies == []


@pytest.mark.parametrize("state", [None, "made up"])
async def test_an_answer_without_the_servers_question_is_none(
    state: str | None, environ: dict[str, str], clock: FakeClock
) -> None:
    api = Api(clock)
    async with client(environ | ABOVE, api, clock, elicitation=Answering("accept")) as assistant:
        if state is None:
            again = await Round(assistant).answer(arguments(environ), None)
            assert isinstance(again, types.InputRequiredResult)
        else:
            with pytest.raises(MCPError):
                await Round(assistant).answer(arguments(environ), state)
    assert api.bodies == []


async def test_a_no_given_by_hand_is_a_no(environ: dict[str, str], clock: FakeClock) -> None:
    api = Api(clock)
    async with client(environ | ABOVE, api, clock, elicitation=Answering("accept")) as assistant:
        asked = await Round(assistant).ask(arguments(environ))
        declined = await Round(assistant).answer(arguments(environ), asked.request_state, "decline")
    assert isinstance(declined, types.CallToolResult)
    assert declined.structured_content["error"]["code"] == "consent_missing"
    assert api.bodies == []


async def test_a_price_that_rose_in_between_is_asked_about_anew(
    environ: dict[str, str], clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = Api(clock)
    wish = arguments(environ)
    async with client(environ | ABOVE, api, clock, elicitation=Answering("accept")) as assistant:
        asked = await Round(assistant).ask(wish)
        monkeypatch.setattr("kontext_edit.tiers.Pro.price_usd", Decimal("0.037"))
        again = await Round(assistant).answer(wish, asked.request_state)
    assert isinstance(again, types.InputRequiredResult)
    assert api.bodies == []
