"""RouterDC: a query router trained by two contrastive losses.

Chen, Jiang, Lin, Kwok, Zhang: "RouterDC: Query-Based Router by Dual Contrastive Learning for Assembling Large Language
Models", NeurIPS 2024 (arXiv 2409.19886).

A query x goes to the LLM m with the largest sim(E(x), k_m), where sim is the cosine. Training minimises, over batches,

    L = L_sample_llm + lambda * L_sample_sample

    L_sample_llm(x) = sum over m+ in I+(x) of -log( e^s(m+) / (e^s(m+) + sum over m- in I-(x) of e^s(m-)) ),
                      s(m) = sim(E(x), k_m) / t
    L_sample_sample(x) = -log( e^s(x+) / (e^s(x+) + sum over x- in X-(x) of e^s(x-)) ),
                      s(y) = sim(E(x), E(y)) / t

I+ holds the K+ LLMs that score best on x, less those that score 0; I- the K- that score worst, less those above 0.5;
x+ is a query of the batch from x's own cluster, X- are H queries of the batch from other clusters.

    symbol    name here                               symbol    name here
    E         the encoder, then `RouterDC.head`       k_m       `RouterDC.llm_embeddings[m]`, N(0, 0.78^2) at first
    K+, K-    k_positive, k_negative                  H         cluster_negatives
    lambda    cluster_weight                          t         temperature
    0.5       NEGATIVE_THRESHOLD                      0.78      LLM_EMBEDDING_STD

Deviations from the paper and its released code, each with its reason:
- Encoder: the paper fine-tunes mDeBERTa-v3-base. Here any sentence-transformers encoder, fine-tuned (`train_encoder`)
  or frozen with a trained linear head, because the second trains in seconds on a CPU and the gateway can share the
  encoder. The sentence vector is the encoder's own pooling; the paper takes the first token's state.
- Queries are cut to `max_tokens`, 128 by default, where the paper reads 512, and padded to the longest of their batch,
  not always to 512. The first loses the far end of long queries; the second gives the same vectors for less work.
- A frozen encoder's head learns at 2e-3, the paper's encoder at 5e-5.
- All rows are used once per pass. With `samples_per_task` each task is cut or repeated to that many rows, as in the
  released code, but by cycling through the rows instead of doubling the list.
- Clusters: k-means on the frozen encoder's vectors; the paper reduces them with t-SNE first. The table's own cluster_id
  or the task can be used instead (clusters.py).
- Checkpoint: the best on a validation split cut from the training data. The released code takes the best on the
  training data, and also keeps the best on the test data, which no honest figure can use.
- K+ and K- shrink to half of the pool where it has fewer than six LLMs, so that no LLM is both.
- t divides both losses; the released t is 1, where that changes nothing.
- A query without a partner, or without any query of another cluster in its batch, has no sample-sample loss; one with
  fewer than H of those takes all of them.

Faults of the released code, repaired here and reproduced by `released_code_faults`: a query can be its own x+, which
teaches nothing about its cluster; LLMs with equal scores are ranked by their place in the table, so the first ones are
favoured as positives (here ties are broken at random at every step); the checkpoint is chosen on the training data.

Axis suffixes: B queries of a batch, M LLMs, P width of the routing space, D encoder dimensions, H cluster negatives.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

NEGATIVE_THRESHOLD = 0.5
LLM_EMBEDDING_STD = 0.78


class RouterDC(nn.Module):
    """The router's trained part: one embedding per LLM and, on a frozen encoder, a linear head (`width` given)."""

    def __init__(self, *, dimensions: int, models: int, width: int | None) -> None:
        super().__init__()
        self.head: nn.Linear | None = nn.Linear(dimensions, width) if width is not None else None
        self.llm_embeddings = nn.Parameter(torch.empty(models, width or dimensions))
        nn.init.normal_(self.llm_embeddings, std=LLM_EMBEDDING_STD)

    def forward(self, embeddings_B_D: Tensor) -> tuple[Tensor, Tensor]:
        """Unit query vectors (B, P) and their cosines with each LLM (B, M)."""
        query_B_P = self.head(embeddings_B_D) if self.head is not None else embeddings_B_D
        query_B_P = functional.normalize(query_B_P, dim=1)
        return query_B_P, query_B_P @ functional.normalize(self.llm_embeddings, dim=1).T


def sample_llm_loss(
    similarities_B_M: Tensor,
    scores_B_M: Tensor,
    *,
    k_positive: int,
    k_negative: int,
    temperature: float,
    generator: torch.Generator | None,
) -> Tensor:
    """Mean over the batch of L_sample_llm; 0 for a query whose negatives all score above NEGATIVE_THRESHOLD.

    `generator` breaks ties between equal scores at random; None ranks them by their place, as the released code does.
    """
    ranked_B_M = rank_by_score(scores_B_M, generator)
    logits_B_M = (similarities_B_M / temperature).gather(1, ranked_B_M)
    ranked_scores_B_M = scores_B_M.gather(1, ranked_B_M)
    too_good = ranked_scores_B_M[:, -k_negative:] > NEGATIVE_THRESHOLD
    negatives = logits_B_M[:, -k_negative:].masked_fill(too_good, -torch.inf)
    positives = logits_B_M[:, :k_positive]
    # -log(e^p / (e^p + sum e^n)) = logsumexp over (p, n...) - p, for each positive p by itself.
    spread = torch.cat([positives.unsqueeze(2), negatives.unsqueeze(1).expand(-1, k_positive, -1)], dim=2)
    losses = torch.logsumexp(spread, dim=2) - positives
    right_at_all = ranked_scores_B_M[:, :k_positive] > 0
    return (losses * right_at_all).sum(dim=1).mean()


def rank_by_score(scores_B_M: Tensor, generator: torch.Generator | None) -> Tensor:
    """LLM indices (B, M), best score first; equal scores in random order, or in table order without a generator."""
    if generator is None:
        return scores_B_M.argsort(dim=1, descending=True, stable=True)
    shuffled = torch.rand(scores_B_M.shape, generator=generator).argsort(dim=1).to(scores_B_M.device)
    order = scores_B_M.gather(1, shuffled).argsort(dim=1, descending=True, stable=True)
    return shuffled.gather(1, order)


def draw_partners(
    clusters_B: Tensor, *, cluster_negatives: int, generator: torch.Generator, include_self: bool = False
) -> tuple[Tensor, Tensor]:
    """For each query one partner of its cluster (B,) and H queries of others (B, H); -1 where the batch has none."""
    size = len(clusters_B)
    same_B_B = clusters_B.unsqueeze(1) == clusters_B.unsqueeze(0)
    partners_B_B = same_B_B if include_self else same_B_B & ~torch.eye(size, dtype=torch.bool)
    positive_B_1 = _draw(partners_B_B, 1, generator)
    return positive_B_1.squeeze(1), _draw(~same_B_B, min(cluster_negatives, size), generator)


def sample_sample_loss(query_B_P: Tensor, positive_B: Tensor, negatives_B_H: Tensor, *, temperature: float) -> Tensor:
    """Mean of L_sample_sample over the queries that have a partner and a negative; 0 if none has.

    `query_B_P` are unit vectors; the others come from `draw_partners`.
    """
    logits_B_B = query_B_P @ query_B_P.T / temperature
    positives = logits_B_B.gather(1, positive_B.clamp(min=0).unsqueeze(1))
    negatives = logits_B_B.gather(1, negatives_B_H.clamp(min=0)).masked_fill(negatives_B_H < 0, -torch.inf)
    losses = torch.logsumexp(torch.cat([positives, negatives], dim=1), dim=1) - positives.squeeze(1)
    usable = (positive_B >= 0) & (negatives_B_H >= 0).any(dim=1)
    return (losses * usable).sum() / usable.sum().clamp(min=1)


def _draw(allowed_B_B: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Up to `count` distinct column indices per row, uniformly among the allowed ones; -1 fills the rest."""
    noise = torch.rand(allowed_B_B.shape, generator=generator).masked_fill(~allowed_B_B, -1.0)
    values, indices = noise.topk(count, dim=1)
    return indices.masked_fill(values < 0, -1)
