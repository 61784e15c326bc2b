"""The inference endpoints, one entry each: the whole list of paths that reach a model.

`ask_field` is where the text to route by stands, None where there is none: `auto` then means the default model. `ends`
names the end marker of the endpoint's streams (gateway/http/sse.py), None where it does not stream. `limits` are the
fields that bound the length of an answer there, the one that counts first: another endpoint's says nothing.
"""

from dataclasses import dataclass
from typing import Literal

from gateway.upstream.base import Replica

AskField = Literal["messages", "prompt", "input"]
StreamEnd = Literal["done", "message_stop", "response"]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One path that takes POST."""

    path: str
    summary: str
    ask_field: AskField | None = None
    ends: StreamEnd | None = None
    limits: tuple[str, ...] = ("max_tokens",)

    def url(self, replica: Replica) -> str:
        """Where the endpoint lives on a replica: under its API version, or at its root for vLLM's own paths."""
        if self.path.startswith("/v1/"):
            return replica.base_url + self.path.removeprefix("/v1")
        return replica.root_url + self.path


ENDPOINTS: dict[str, Endpoint] = {
    endpoint.path: endpoint
    for endpoint in (
        Endpoint(
            "/v1/chat/completions",
            "Answer a conversation.",
            "messages",
            "done",
            limits=("max_completion_tokens", "max_tokens"),
        ),
        Endpoint("/v1/completions", "Continue a text.", "prompt", "done"),
        Endpoint("/v1/embeddings", "Embed texts."),
        Endpoint(
            "/v1/responses",
            "Answer, in the form of OpenAI's Responses.",
            "input",
            "response",
            limits=("max_output_tokens",),
        ),
        Endpoint("/v1/messages", "Answer, in the form of Anthropic's Messages.", "messages", "message_stop"),
        Endpoint("/rerank", "Order documents by relevance."),
        Endpoint("/v1/rerank", "Order documents by relevance."),
        Endpoint("/score", "Score pairs of texts."),
        Endpoint("/v1/score", "Score pairs of texts."),
        Endpoint("/tokenize", "Text to token ids."),
        Endpoint("/detokenize", "Token ids to text."),
    )
}
