"""The client of one request: told how far it is, and asked for a person's word, in the way of its era.

Handshake clients are asked while the call runs; 2026-07-28 ones get the question as the call's result, and
bring the answer with the next try.
"""

import json
import logging
import secrets
from typing import Any, cast

import mcp_types as types
from mcp.server.context import ServerRequestContext
from mcp.shared.exceptions import MCPError
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from kontext_edit.caller import AT_HOME, Consent, Visitor
from kontext_edit.tools import Workshop

logger = logging.getLogger(__name__)

VISITOR = "kontext.visitor"
"""Where a door that knows its visitors leaves them in the request's scope."""

_CONSENT = "consent"
_NO_FIELDS: types.ElicitRequestedSchema = {"type": "object", "properties": {}}
_ANSWERED = "answered questions"
"""The fact that all replicas share: which questions were answered, and until when that matters."""
_QUESTION_SECONDS = 900
"""No sealed question is taken back after as long as this."""
_CONSENTS = {"accept": Consent.GIVEN, "decline": Consent.DECLINED, "cancel": Consent.DISMISSED}


def visitor_of(ctx: ServerRequestContext[None, Any]) -> Visitor:
    """Who sent a request; where its door knows no visitors, the person whose machine this is."""
    request = ctx.request
    return AT_HOME if request is None else cast("Visitor", request.scope.get(VISITOR, AT_HOME))


def owner_of(ctx: ServerRequestContext[None, Any]) -> str:
    """Whose edits a request is about."""
    return visitor_of(ctx).owner


class McpCaller:
    """The client of one request, told and asked in the way of its era of the protocol."""

    def __init__(
        self,
        ctx: ServerRequestContext[None, Any],
        params: types.CallToolRequestParams,
        workshop: Workshop,
    ) -> None:
        self._ctx = ctx
        self._params = params
        self._workshop = workshop

    @property
    def owner(self) -> str:
        """Whose edits the client sees and begins."""
        return owner_of(self._ctx)

    async def progress(self, percent: float, sentence: str) -> None:
        """Report progress, where the client asked for it."""
        await self._ctx.session.report_progress(percent, 100, sentence)

    async def consent(self, question: str, subject: str) -> Consent:
        """Ask the person by elicitation.

        Raises:
            InputRequired: the question goes out as the result, and the answer comes with the next try.
        """
        session = self._ctx.session
        if not _can_show_a_form(session.client_capabilities):
            return Consent.IMPOSSIBLE
        if session.protocol_version in MODERN_PROTOCOL_VERSIONS:
            return await self._answer_of_this_try(question, subject)
        try:
            asked = await session.elicit_form(question, _NO_FIELDS, related_request_id=self._ctx.request_id)
        except MCPError as error:
            logger.warning("the client did not ask the person: %s", error)
            return Consent.IMPOSSIBLE
        return _CONSENTS[asked.action]

    async def _answer_of_this_try(self, question: str, subject: str) -> Consent:
        """2026-07-28 asks by a result; the sealed state ties the answer to what was asked, for one use."""
        state = self._params.request_state
        answer = (self._params.input_responses or {}).get(_CONSENT)
        if state and isinstance(answer, types.ElicitResult):
            name, _, asked = state.partition(" ")
            if asked == subject and await self._is_first_answer(name):
                return _CONSENTS[answer.action]
        request = types.ElicitRequest(
            params=types.ElicitRequestFormParams(message=question, requested_schema=_NO_FIELDS)
        )
        raise InputRequired(
            types.InputRequiredResult(
                input_requests={_CONSENT: request}, request_state=f"{secrets.token_hex(8)} {subject}"
            )
        )

    async def _is_first_answer(self, question: str) -> bool:
        """Whether a question was not answered before, at whichever replica: a word given once buys once."""
        now, first = self._workshop.now(), False

        def note(known: str | None) -> str:
            nonlocal first
            answered: dict[str, float] = json.loads(known or "{}")
            first = question not in answered
            answered[question] = now + _QUESTION_SECONDS
            return json.dumps({name: until for name, until in answered.items() if until > now})

        await (await self._workshop.journal()).shared(_ANSWERED, note)
        return first


class InputRequired(Exception):
    """The client has to answer something before the call can go on."""

    def __init__(self, result: types.InputRequiredResult) -> None:
        super().__init__()
        self.result = result


def _can_show_a_form(capabilities: types.ClientCapabilities | None) -> bool:
    """Whether a client can ask a person; one that names no way of asking means a form."""
    asking = capabilities.elicitation if capabilities else None
    return asking is not None and (asking.form is not None or asking.url is None)
