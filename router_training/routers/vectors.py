"""Where a training step gets its query vectors: computed once by a frozen encoder, or by one that learns along.

Axis suffixes: B queries of a batch, D encoder dimensions.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from router_core.scoring.base import FloatArray
from router_training.routers.dataset import Indices
from router_training.routers.encoder import SentenceEncoder, encodable


class QueryVectors(Protocol):
    """Query vectors by row, and whatever of them is trained."""

    def of_rows(self, rows: Indices) -> Tensor:
        """The vectors (B, D) of these rows; they carry a gradient if the encoder is trained."""
        ...

    def train(self, training: bool) -> None:
        """Switch dropout on for a step, off for an evaluation."""
        ...

    def parameters(self) -> Iterator[nn.Parameter]:
        """What the optimiser may change."""
        ...

    def state(self) -> dict[str, Tensor]:
        """A copy of the trained weights."""
        ...

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go back to a copy."""
        ...


class FrozenVectors:
    """Vectors embedded beforehand, (N, D); nothing to train."""

    def __init__(self, embeddings_N_D: FloatArray, device: str = "cpu") -> None:
        self._embeddings_N_D = torch.from_numpy(embeddings_N_D).to(device)

    def of_rows(self, rows: Indices) -> Tensor:
        """The vectors (B, D) of these rows."""
        return self._embeddings_N_D[torch.from_numpy(rows)]

    def train(self, training: bool) -> None:
        """Nothing to switch."""

    def parameters(self) -> Iterator[nn.Parameter]:
        """None."""
        return iter(())

    def state(self) -> dict[str, Tensor]:
        """Empty."""
        return {}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Nothing to restore."""


class TrainedVectors:
    """Vectors of an encoder that is fine-tuned together with the LLM embeddings."""

    def __init__(self, encoder: SentenceEncoder, questions: Sequence[str]) -> None:
        self._model = encoder.model
        self._questions = [encodable(question) for question in questions]

    def of_rows(self, rows: Indices) -> Tensor:
        """The vectors (B, D) of these rows, with a gradient unless the caller forbids it."""
        features = self._model.preprocess([self._questions[row] for row in rows])
        on_device = {
            name: value.to(self._model.device) if isinstance(value, Tensor) else value
            for name, value in features.items()
        }
        vectors: Tensor = self._model(on_device)["sentence_embedding"]
        return vectors

    def train(self, training: bool) -> None:
        """Switch dropout on for a step, off for an evaluation."""
        self._model.train(training)

    def parameters(self) -> Iterator[nn.Parameter]:
        """Every weight of the encoder."""
        parameters: Iterator[nn.Parameter] = self._model.parameters()
        return parameters

    def state(self) -> dict[str, Tensor]:
        """A copy of the encoder's weights."""
        return {name: value.detach().clone() for name, value in self._model.state_dict().items()}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Put a copy back."""
        self._model.load_state_dict(state)
