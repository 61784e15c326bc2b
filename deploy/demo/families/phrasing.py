"""How a user may put a request: frames shared by every family, so that no frame gives a family away.

An ask is an imperative clause ("sort these numbers from low to high"), `data` is what it is about. A frame joins them.
The three splits share neither a frame nor an ask: a held-out query is worded as no training text is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Literal

from router_core.answers import AnswerSpec

Split = Literal["sft", "router_train", "router_test"]
SPLITS: tuple[Split, ...] = ("sft", "router_train", "router_test")


@dataclass(frozen=True)
class Item:
    """One query: its text, how to check an answer, the answer a specialist is taught (if any), and its wording."""

    task: str
    question: str
    answer: AnswerSpec
    template: str
    target: str | None = None

    @property
    def ask(self) -> str:
        """What of its wording asks: without the frame and the form of the data."""
        parts = self.template.split(" | ")
        return parts[1] if len(parts) > 1 else parts[0]


def listed(text: str) -> tuple[str, ...]:
    """The words of `text`."""
    return tuple(text.split())


FRAMES: dict[Split, tuple[str, ...]] = {
    "sft": (
        "{Ask}: {data}",
        "{Ask}.\n{data}",
        "{data}\n{Ask}.",
        "Please {ask}: {data}",
        "Please {ask}.\n\n{data}",
        "Can you {ask}? {data}",
        "Could you please {ask}?\n{data}",
        "{data}\n\nCan you {ask}?",
        "I need you to {ask}: {data}",
        "Hi, {ask}, thanks. {data}",
        "{data} - {ask}",
        "I have this: {data}. Please {ask}.",
    ),
    "router_train": (
        "{Ask} please: {data}",
        "Would you {ask}?\n\n{data}",
        "{data}\n\n{Ask}, please.",
        "Here you go: {data}. Could you {ask}?",
        "My task is to {ask}. {data}",
        "Hello! Can you {ask} for me: {data}",
    ),
    "router_test": (
        "Kindly {ask}. {data}",
        "Given {data}, {ask}.",
        "Help me out and {ask}:\n{data}",
        "{data}\nNow {ask}.",
        "I'd like you to {ask}. Here it is: {data}",
        "Quick one: {ask}, would you? {data}",
    ),
}


def phrase(split: Split, asks: Sequence[str], data: str, rng: Random, **fields: str) -> tuple[str, str]:
    """A request about `data` in one of the split's frames, and the name of its wording (frame | ask)."""
    frame = rng.choice(FRAMES[split])
    ask = rng.choice(asks)
    worded = ask.format(**fields) if fields else ask
    capital = worded[0].upper() + worded[1:]
    return frame.format(ask=worded, Ask=capital, data=data), f"{frame} | {ask}"
