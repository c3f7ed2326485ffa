"""A model behind an endpoint on loopback that speaks both APIs and says, or does wrong, what a script tells it.

Which answer is due is seen from the request: the turns that are in its history. So a request that is made again for the
same turn gets the same answer, or the next one of a list.
"""

import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from heed.core.llm.transcript import Api
from tests import http_services
from tests.builders.models import chat_body, chat_call, responses_body
from tests.http_services import ScriptedService, reply

Answer = http_services.Answer
Script = Sequence[Answer | Sequence[Answer]]
PROMPT_TOKENS, ANSWER_TOKENS = 500, 20  # of each turn


class Speech:
    """What a model says in one of the APIs."""

    def __init__(self, api: Api) -> None:
        self.api = api

    def text(self, text: str, **members: Any) -> Answer:
        """An answer with text."""
        return self.answer(text, [], **members)

    def calls(self, *calls: Mapping[str, Any], **members: Any) -> Answer:
        """An answer that calls tools."""
        return self.answer(None, calls, **members)

    def answer(self, text: str | None, calls: Sequence[Mapping[str, Any]], **members: Any) -> Answer:
        """An answer; `members` replace those of its body, and `finish` the reason it ended for."""
        body = self._responses(text, calls) if self.api == "Responses" else self._chat(text, calls, members)
        return reply(200, json.dumps(body | members), Content_Type="application/json")

    def empty(self) -> Answer:
        """An answer without any turn."""
        body: Any = responses_body() | {"output": []} if self.api == "Responses" else chat_body(choices=[])
        return reply(200, json.dumps(body))

    def without_usage(self, text: str) -> Answer:
        """An answer that counts nothing."""
        return self.text(text, usage=None)

    def cut_by_limit(self, text: str) -> Answer:
        """An answer that reached the limit of tokens."""
        if self.api == "Responses":
            return self.text(text, status="incomplete", incomplete_details={"reason": "max_output_tokens"})
        return self.text(text, finish="length")

    def counted(self, text: str, read: int) -> Answer:
        """An answer to so many tokens."""
        return self.text(text, usage=self._usage(read))

    def _usage(self, read: int = PROMPT_TOKENS) -> dict[str, int]:
        names = (
            ("input_tokens", "output_tokens")
            if self.api == "Responses"
            else ("prompt_tokens", "completion_tokens")
        )
        return dict(zip(names, (read, ANSWER_TOKENS), strict=True)) | {"total_tokens": read + ANSWER_TOKENS}

    def _chat(
        self, text: str | None, calls: Sequence[Mapping[str, Any]], members: dict[str, Any]
    ) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": text, "reasoning_content": "Hm."}
        if calls:
            message["tool_calls"] = list(calls)
        return chat_body(message, members.pop("finish", "stop")) | {"usage": self._usage()}

    def _responses(self, text: str | None, calls: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        items: list[dict[str, Any]] = [
            {"type": "reasoning", "id": "rs", "summary": [], "encrypted_content": "gAAA"}
        ]
        if text is not None:
            content = [{"type": "output_text", "text": text}]
            items.append({"type": "message", "role": "assistant", "content": content})
        kind = {"type": "function_call"}
        items += (kind | {"call_id": call.get("id")} | call["function"] for call in calls)
        return responses_body(*items, usage=self._usage())


def call(name: str, identity: Any = "call_a", **arguments: Any) -> dict[str, Any]:
    """A call of a tool."""
    return chat_call(identity, name, json.dumps(arguments))


def turns_in(body: Mapping[str, Any]) -> int:
    """How many turns of the model a request has in its history."""
    if "messages" in body:
        return sum(message["role"] == "assistant" for message in body["messages"])
    return sum(item.get("type") == "reasoning" for item in body["input"])


@asynccontextmanager
async def serving_model(script: Script) -> AsyncIterator[ScriptedService]:
    """Run a model that gives the script's answers, one for each turn; the last one goes on."""
    asked: Counter[int] = Counter()

    async def answer(writer: Any) -> None:
        turn = min(turns_in(json.loads(service.requests[-1].body)), len(script) - 1)
        due = script[turn]
        chosen = due if callable(due) else due[min(asked[turn], len(due) - 1)]
        asked[turn] += 1
        await chosen(writer)

    async with http_services.serving(answer) as service:
        yield service


def bodies(service: ScriptedService) -> list[Any]:
    """The requests that were made, as JSON."""
    return [json.loads(request.body) for request in service.requests]


Tool = Callable[[Mapping[str, Any]], str]
