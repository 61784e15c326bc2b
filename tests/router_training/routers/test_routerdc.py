"""Both losses against a hand-computed case, and against the paper's sums written out as loops in numpy."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from router_training.routers.routerdc import (
    LLM_EMBEDDING_STD,
    RouterDC,
    draw_partners,
    rank_by_score,
    sample_llm_loss,
    sample_sample_loss,
)


def llm_loss(similarities: list[list[float]], scores: list[list[float]], **changes: float) -> float:
    arguments = {"k_positive": 1, "k_negative": 2, "temperature": 1.0} | changes
    return float(
        sample_llm_loss(
            torch.tensor(similarities, dtype=torch.float64),
            torch.tensor(scores, dtype=torch.float64),
            k_positive=int(arguments["k_positive"]),
            k_negative=int(arguments["k_negative"]),
            temperature=arguments["temperature"],
            generator=None,
        )
    )


def test_sample_llm_loss_by_hand() -> None:
    # Best LLM: 1 (s = 0.5). Worst two: 0 (s = 0.1) and 2 (s = -0.3).
    expected = -math.log(math.exp(0.5) / (math.exp(0.5) + math.exp(0.1) + math.exp(-0.3)))
    assert llm_loss([[0.1, 0.5, -0.3]], [[0.2, 1.0, 0.0]]) == pytest.approx(expected, rel=1e-12)


def test_each_positive_is_contrasted_by_itself() -> None:
    both = llm_loss([[0.9, 0.5, -0.3]], [[1.0, 0.8, 0.0]], k_positive=2, k_negative=1)
    first = -math.log(math.exp(0.9) / (math.exp(0.9) + math.exp(-0.3)))
    second = -math.log(math.exp(0.5) / (math.exp(0.5) + math.exp(-0.3)))
    assert both == pytest.approx(first + second, rel=1e-12)


def test_the_temperature_divides_the_cosines() -> None:
    expected = -math.log(math.exp(5.0) / (math.exp(5.0) + math.exp(1.0) + math.exp(-3.0)))
    assert llm_loss([[0.1, 0.5, -0.3]], [[0.2, 1.0, 0.0]], temperature=0.1) == pytest.approx(expected, rel=1e-9)


def test_no_loss_when_every_negative_is_good_enough_to_drop() -> None:
    assert llm_loss([[0.1, 0.5, -0.3]], [[0.6, 1.0, 0.51]]) == 0.0


def test_a_negative_at_the_threshold_stays() -> None:
    expected = -math.log(math.exp(0.5) / (math.exp(0.5) + math.exp(-0.3)))
    assert llm_loss([[0.1, 0.5, -0.3]], [[0.6, 1.0, 0.5]]) == pytest.approx(expected, rel=1e-12)


def test_a_positive_that_scores_zero_teaches_nothing() -> None:
    assert llm_loss([[0.1, 0.5, -0.3]], [[0.0, 0.0, 0.0]]) == 0.0


def test_the_batch_mean_counts_queries_without_loss() -> None:
    one = llm_loss([[0.1, 0.5, -0.3]], [[0.2, 1.0, 0.0]])
    two = llm_loss([[0.1, 0.5, -0.3], [0.4, 0.2, 0.1]], [[0.2, 1.0, 0.0], [0.0, 0.0, 0.0]])
    assert two == pytest.approx(one / 2, rel=1e-12)


def llm_loss_in_loops(
    similarities: np.ndarray, scores: np.ndarray, k_positive: int, k_negative: int, temperature: float
) -> float:
    total = 0.0
    for row, score in zip(similarities, scores, strict=True):
        best_first = sorted(range(len(score)), key=lambda model: -score[model])
        for good in best_first[:k_positive]:
            if score[good] <= 0:
                continue
            below = sum(
                math.exp(row[bad] / temperature) for bad in best_first[len(score) - k_negative :] if score[bad] <= 0.5
            )
            above = math.exp(row[good] / temperature)
            total += -math.log(above / (above + below))
    return total / len(similarities)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), k=st.tuples(st.integers(1, 3), st.integers(1, 3)), t=st.sampled_from([0.2, 1.0]))
def test_sample_llm_loss_equals_the_papers_sum(seed: int, k: tuple[int, int], t: float) -> None:
    rng = np.random.default_rng(seed)
    similarities, scores = rng.uniform(-1, 1, (5, 6)), rng.integers(0, 5, (5, 6)) / 4
    loss = llm_loss(similarities.tolist(), scores.tolist(), k_positive=k[0], k_negative=k[1], temperature=t)
    assert loss == pytest.approx(llm_loss_in_loops(similarities, scores, *k, t), rel=1e-9, abs=1e-12)


def test_ties_are_broken_at_random_but_never_across_scores() -> None:
    scores = torch.tensor([[1.0, 1.0, 1.0, 0.0, 0.0, 0.5]]).repeat(200, 1)
    ranked = rank_by_score(scores, torch.Generator().manual_seed(0))
    assert set(ranked[:, 0].tolist()) == {0, 1, 2}
    assert set(ranked[:, 3].tolist()) == {5}
    assert set(ranked[:, 5].tolist()) == {3, 4}
    assert sorted(ranked[0].tolist()) == [0, 1, 2, 3, 4, 5]
    in_table_order = rank_by_score(scores, None)
    assert in_table_order.unique(dim=0).tolist() == [[0, 1, 2, 5, 3, 4]]


def test_sample_sample_loss_by_hand() -> None:
    queries = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]], dtype=torch.float64)
    positive, negatives = torch.tensor([1, 0, -1]), torch.tensor([[2], [2], [0]])
    first = -math.log(math.exp(0.6) / (math.exp(0.6) + math.exp(0.0)))
    second = -math.log(math.exp(0.6) / (math.exp(0.6) + math.exp(0.8)))
    # The third query has no partner: it is left out of the mean, not counted as 0.
    loss = sample_sample_loss(queries, positive, negatives, temperature=1.0)
    assert float(loss) == pytest.approx((first + second) / 2, rel=1e-12)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), negatives=st.integers(1, 4), t=st.sampled_from([0.2, 1.0]))
def test_sample_sample_loss_equals_the_papers_sum(seed: int, negatives: int, t: float) -> None:
    rng = np.random.default_rng(seed)
    queries = rng.normal(size=(9, 4))
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    clusters = rng.integers(0, 3, 9)
    positive_B, negatives_B_H = draw_partners(
        torch.from_numpy(clusters), cluster_negatives=negatives, generator=torch.Generator().manual_seed(seed)
    )
    losses = []
    for index, partner in enumerate(positive_B.tolist()):
        others = [other for other in negatives_B_H[index].tolist() if other >= 0]
        if partner >= 0 and others:
            above = math.exp(queries[index] @ queries[partner] / t)
            losses.append(-math.log(above / (above + sum(math.exp(queries[index] @ queries[o] / t) for o in others))))
    loss = sample_sample_loss(torch.from_numpy(queries), positive_B, negatives_B_H, temperature=t)
    assert float(loss) == pytest.approx(np.mean(losses) if losses else 0.0, rel=1e-9, abs=1e-12)


@given(clusters=st.lists(st.integers(0, 3), min_size=2, max_size=12), count=st.integers(1, 4))
@settings(max_examples=60, deadline=None)
def test_partners_are_of_the_same_cluster_and_never_oneself(clusters: list[int], count: int) -> None:
    positive, negatives = draw_partners(
        torch.tensor(clusters), cluster_negatives=count, generator=torch.Generator().manual_seed(1)
    )
    for index, cluster in enumerate(clusters):
        partner = int(positive[index])
        others = [other for other in negatives[index].tolist() if other >= 0]
        assert (partner == -1) == (clusters.count(cluster) == 1)
        assert partner == -1 or (partner != index and clusters[partner] == cluster)
        assert all(clusters[other] != cluster for other in others)
        assert len(set(others)) == len(others) == min(count, len(clusters) - clusters.count(cluster))


def test_the_released_code_can_pair_a_query_with_itself() -> None:
    clusters = torch.tensor([0, 1])
    generator = torch.Generator().manual_seed(0)
    assert draw_partners(clusters, cluster_negatives=1, generator=generator)[0].tolist() == [-1, -1]
    own = draw_partners(clusters, cluster_negatives=1, generator=generator, include_self=True)[0]
    assert own.tolist() == [0, 1]


def test_every_partner_can_be_drawn() -> None:
    clusters = torch.tensor([0, 0, 0, 1])
    generator = torch.Generator().manual_seed(0)
    drawn = {int(draw_partners(clusters, cluster_negatives=1, generator=generator)[0][0]) for _ in range(50)}
    assert drawn == {1, 2}


def test_the_router_scores_by_cosine() -> None:
    router = RouterDC(dimensions=3, models=2, width=None)
    with torch.no_grad():
        router.llm_embeddings.copy_(torch.tensor([[2.0, 0, 0], [0, 3.0, 4.0]]))
    query, similarities = router(torch.tensor([[0.0, 5.0, 0.0]]))
    assert query.tolist() == [[0.0, 1.0, 0.0]]
    assert similarities[0].tolist() == pytest.approx([0.0, 0.6])


def test_llm_embeddings_start_with_the_papers_spread() -> None:
    torch.manual_seed(0)
    router = RouterDC(dimensions=8, models=50, width=200)
    assert float(router.llm_embeddings.detach().std()) == pytest.approx(LLM_EMBEDDING_STD, rel=0.05)
    assert tuple(router.llm_embeddings.shape) == (50, 200)
