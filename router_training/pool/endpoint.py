"""An OpenAI-compatible endpoint as scoring needs it: which models are served, and one question at a time.

Promises: every request has a deadline (connect, read and whole); what may pass is tried again (408, 409, 425, 429, 5xx,
time-outs, lost connections) after an exponential back-off with jitter, never sooner than `retry-after` says; any other
status and any reply that breaks the contract is an EndpointError at once, because it would come back for every query.
Leaves out: streaming (nobody reads along), tools, and `n` > 1 (one request per sample is what a journal can resume).
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from random import Random
from typing import Any, Final
from urllib.parse import urlsplit

import httpx

from router_training.errors import EndpointError

CONNECT_TIMEOUT_S: Final = 10.0
FIRST_BACKOFF_S: Final = 0.5
LONGEST_BACKOFF_S: Final = 30.0
LONGEST_RETRY_AFTER_S: Final = 300.0
TRANSIENT: Final = frozenset({408, 409, 425, 429})
LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})


@dataclass(frozen=True)
class Reply:
    """What a model said to one question."""

    text: str
    prompt_tokens: int | None
    completion_tokens: int | None
    finish_reason: str | None
    seconds: float


@dataclass(frozen=True)
class Unanswered:
    """Every try failed in a way that may pass; `reason` is the last failure."""

    reason: str


class Endpoint:
    """One endpoint over one connection pool."""

    def __init__(
        self,
        client: httpx.AsyncClient,
        *,
        timeout_s: float,
        retries: int,
        random: Random,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._client = client
        self._timeout_s = timeout_s
        self._retries = retries
        self._random = random
        self._sleep = sleep
        self._wall_clock = wall_clock

    async def served_models(self) -> list[str]:
        """The ids that GET /models lists; one try. Raises EndpointError."""
        outcome = await self._try("GET", "models", None)
        if isinstance(outcome, str):
            raise EndpointError(f"{self._client.base_url}: {outcome}; is the endpoint up?")
        listing = self._json_of(outcome, "GET /models")
        try:
            return [str(model["id"]) for model in listing["data"]]
        except (KeyError, TypeError):
            raise EndpointError(f"{self._client.base_url}: GET /models gave no list of models") from None

    async def ask(
        self, question: str, *, model: str, max_tokens: int, temperature: float, seed: int, about: str
    ) -> Reply | Unanswered:
        """Ask one question. `about` names it in errors, which never hold the question. Raises EndpointError."""
        body: dict[str, Any] = {
            "model": model,
            "messages": [{"role": "user", "content": question}],
            "max_tokens": max_tokens,
            "temperature": temperature,
        }
        if temperature > 0:
            body["seed"] = seed
        for attempt in range(self._retries + 1):
            started = time.perf_counter()
            outcome = await self._try("POST", "chat/completions", body)
            if isinstance(outcome, httpx.Response) and not _is_transient(outcome.status_code):
                return self._reply_of(outcome, time.perf_counter() - started, f"{about}, model {model}")
            if attempt < self._retries:
                await self._sleep(self._pause_s(attempt, outcome))
        reason = outcome if isinstance(outcome, str) else f"HTTP {outcome.status_code}"
        return Unanswered(f"{reason} after {self._retries + 1} tries")

    async def _try(self, method: str, path: str, body: dict[str, Any] | None) -> httpx.Response | str:
        """The response, whatever its status, or one line on why there is none."""
        try:
            async with asyncio.timeout(self._timeout_s):  # httpx bounds each read, not their sum
                return await self._client.request(method, path, json=body)
        except (TimeoutError, httpx.TimeoutException):
            return f"no answer within {self._timeout_s:g} s"
        except httpx.RequestError as error:
            return f"no connection ({str(error) or type(error).__name__})"

    def _pause_s(self, attempt: int, outcome: httpx.Response | str) -> float:
        backoff_s = min(LONGEST_BACKOFF_S, FIRST_BACKOFF_S * 2.0**attempt) * (0.5 + self._random.random() / 2)
        asked_s = 0.0 if isinstance(outcome, str) else _retry_after_s(outcome, self._wall_clock())
        if asked_s > LONGEST_RETRY_AFTER_S:
            raise EndpointError(f"{self._client.base_url}: asks to come back in {asked_s:.0f} s; run again then")
        return max(backoff_s, asked_s)

    def _reply_of(self, response: httpx.Response, seconds: float, about: str) -> Reply:
        answer = self._json_of(response, about)
        try:
            choice = answer["choices"][0]
            content = choice["message"].get("content")
            usage = answer.get("usage") or {}
            finish_reason = choice.get("finish_reason")
            return Reply(
                # Lone surrogates are legal in JSON's escapes and in nothing that we could write.
                text=(content or "").encode("utf-8", "replace").decode(),
                prompt_tokens=_count(usage.get("prompt_tokens")),
                completion_tokens=_count(usage.get("completion_tokens")),
                finish_reason=finish_reason if isinstance(finish_reason, str) else None,
                seconds=round(seconds, 4),
            )
        except (KeyError, IndexError, TypeError, AttributeError):
            raise EndpointError(f"{self._client.base_url}: the reply for {about} is no chat completion") from None

    def _json_of(self, response: httpx.Response, about: str) -> Any:
        if response.status_code != 200:
            raise EndpointError(f"{self._client.base_url}: HTTP {response.status_code} for {about}: {_why(response)}")
        try:
            return response.json()
        except ValueError:
            raise EndpointError(f"{self._client.base_url}: the reply for {about} is not JSON") from None


@asynccontextmanager
async def open_endpoint(
    url: str, *, api_key: str | None, timeout_s: float, retries: int, concurrency: int, random: Random
) -> AsyncIterator[Endpoint]:
    """An Endpoint whose connections are closed at the end; `concurrency` is the size of its pool."""
    async with httpx.AsyncClient(
        base_url=url,
        headers={"authorization": f"Bearer {api_key}"} if api_key else {},
        timeout=httpx.Timeout(timeout_s, connect=min(timeout_s, CONNECT_TIMEOUT_S)),
        limits=httpx.Limits(max_connections=concurrency, max_keepalive_connections=concurrency),
        trust_env=urlsplit(url).hostname not in LOOPBACK,  # no proxy stands between a machine and itself
    ) as client:
        yield Endpoint(client, timeout_s=timeout_s, retries=retries, random=random)


def _is_transient(status: int) -> bool:
    return status in TRANSIENT or status >= 500


def _retry_after_s(response: httpx.Response, now: float) -> float:
    """Seconds that `retry-after` asks for (a number or an HTTP date); 0 when it is absent or unreadable."""
    value = response.headers.get("retry-after", "")
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - now)
    except ValueError:
        return 0.0


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) else None


def _why(response: httpx.Response) -> str:
    """OpenAI's error message, else the start of the body, on one line of at most 200 characters."""
    text = response.text
    try:
        error = response.json()["error"]
        text = str(error["message"] if isinstance(error, dict) else error)
    except (ValueError, KeyError, TypeError):
        pass
    line = " ".join(text.split())
    return line[:200] + ("..." if len(line) > 200 else "") if line else "(empty body)"
