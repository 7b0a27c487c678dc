"""The language model, as support sees it: any server that speaks OpenAI's chat completions. Optional, and off as it
comes. What is asked and what is taken of an answer: advice.py; when: advised.py.
"""

import time
from collections.abc import Callable, Sequence
from functools import partial
from logging import getLogger
from typing import Annotated, Any, TypeVar
from urllib.parse import urlsplit

import msgspec
from nameko.extensions import DependencyProvider
from prometheus_client import Counter

from chassis.errors import OutcomeUnknown, Unavailable
from chassis.outside import OutsideClient
from chassis.rpc import Breaker
from chassis.settings import read_settings
from chassis.types import Message
from services.support import advice
from services.support.turns import Hit

T = TypeVar("T")

MOST_BYTES = 64 << 10
"""Of an answer."""
NAME = "the language model"
HERE = ("127.0.0.1", "::1", "localhost")

ASKED = Counter("rialto_support_model", "What became of what the language model was asked", ["task", "outcome"])

log = getLogger("rialto.support")


class ModelSettings(Message, forbid_unknown_fields=True):
    """`url`: what `/chat/completions` is put behind; empty: there is no model. `name`: the model's. `timeout_s`: for
    all that is asked about one message. `reads_below`: it is asked what a text is about where the built-in reading is
    less sure than that, or does not know. `phrases`: whether it words answers from articles. `messages`: so many of the
    customer's earlier ones it sees. `tokens`: of its answer. `at_once`: questions under way, of one instance."""

    url: Annotated[str, msgspec.Meta(pattern=r"^(https?://[^@\s]+)?$")] = ""
    name: str = ""
    api_key: str = ""
    timeout_s: Annotated[float, msgspec.Meta(gt=0, le=8)] = 3.0
    reads_below: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.3
    phrases: bool = True
    messages: Annotated[int, msgspec.Meta(ge=0, le=10)] = 4
    tokens: Annotated[int, msgspec.Meta(ge=16, le=2000)] = 300
    at_once: Annotated[int, msgspec.Meta(ge=1, le=100)] = 4

    def __post_init__(self) -> None:
        url = urlsplit(self.url)
        if self.url and not self.name:
            raise ValueError("a url needs a name: which model is asked")
        if self.api_key and url.scheme == "http" and url.hostname not in HERE:
            raise ValueError("an api_key goes over https only, or to this machine")


class _Settings(Message):
    support_model: ModelSettings


class _Said(Message):
    content: str


class _Choice(Message):
    message: _Said


class _Completion(Message):
    choices: Annotated[list[_Choice], msgspec.Meta(min_length=1)]


class ModelClient:
    """The server's API. It is left alone for a while when it did not answer several times in a row."""

    def __init__(self, settings: ModelSettings) -> None:
        self.settings = settings
        headers = {"Authorization": f"Bearer {settings.api_key}"} if settings.api_key else None
        pool, most = settings.at_once, MOST_BYTES
        self._server = OutsideClient(NAME, settings.url, settings.timeout_s, pool, headers=headers, most_bytes=most)
        self._breaker = Breaker()

    def complete(self, instructions: str, asked: Any, until: float) -> str:
        """What the model says to it, whatever that is. Raises Unavailable or OutcomeUnknown."""
        left = until - time.time()
        if left <= 0:
            raise Unavailable(NAME, "no time left to ask")
        self._breaker.require_closed(NAME, left)
        answered = False
        try:
            answer = self._server.call("POST", "/chat/completions", self._body(instructions, asked), deadline=until)
            answered = True
        finally:
            self._breaker.record(answered)
        if answer.media_type != "application/json":
            raise OutcomeUnknown(NAME, f"answered {answer.status} with {answer.media_type!r}")
        return answer.result(_Completion, {}).choices[0].message.content

    def _body(self, instructions: str, asked: Any) -> dict[str, Any]:
        return {
            "model": self.settings.name,
            "messages": [
                {"role": "system", "content": instructions},
                {"role": "user", "content": msgspec.json.encode(asked).decode()},
            ],
            "response_format": {"type": "json_object"},
            "max_tokens": self.settings.tokens,
            "temperature": 0,
            "stream": False,
        }


class Model:
    """Asks for one message of a customer's: all that it does for it ends at `until`. It answers None where there is
    nothing that can be taken, for whatever reason."""

    def __init__(self, client: ModelClient, until: float) -> None:
        self.settings = client.settings
        self._client, self._until = client, until

    def label(self, text: str, before: Sequence[str]) -> str | None:
        """What a text is about: one of advice.LABELS."""
        return self._ask("read", advice.READ, advice.to_label(text, before), advice.label_of)

    def phrase(self, question: str, hit: Hit) -> str | None:
        """An article in words that fit a question."""
        asked, take = advice.to_phrase(question, hit), partial(advice.phrase_of, hit=hit)
        return self._ask("phrase", advice.PHRASE, asked, take)

    def _ask(self, task: str, instructions: str, asked: Any, take: Callable[[str], T | None]) -> T | None:
        taken, reason = None, ""
        try:
            taken = take(self._client.complete(instructions, asked, self._until))
            outcome = "unsure" if taken is None else "used"
        except Unavailable as exc:
            outcome, reason = "unavailable", exc.reason
        except OutcomeUnknown as exc:
            outcome, reason = "unanswered", exc.reason
        except (advice.Unfit, msgspec.DecodeError) as exc:
            outcome, reason = "unfit", str(exc)
        ASKED.labels(task, outcome).inc()
        if reason:
            log.info("did without the language model", extra={"task": task, "outcome": outcome, "reason": reason})
        return taken


class LanguageModel(DependencyProvider):
    """Worker attribute: a Model for this call, or None where no `support_model.url` is set."""

    client: ModelClient | None = None

    def setup(self) -> None:
        settings = read_settings(self.container, _Settings).support_model
        self.client = ModelClient(settings) if settings.url else None

    def get_dependency(self, worker_ctx: Any) -> Model | None:
        return Model(self.client, time.time() + self.client.settings.timeout_s) if self.client else None
