"""A map of the queries in two dimensions: who is sent where, beside which task is where."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from router_training.evaluate.page.judgement import Judgement
from router_training.evaluate.page.section import Picture, Section, TextTable, short_names
from router_training.evaluate.page.theme import WIDTH, Theme
from router_training.evaluate.routed_accuracy import Floats, Indices

DRAWN_QUERIES = 1500
_PERPLEXITY = 30.0
_FEWEST_FOR_TSNE = 10


def build(judgement: Judgement) -> Section:
    """Always there."""
    rows, tasks = _sample(judgement)
    vectors = np.concatenate([task.vectors for task in judgement.tasks])[rows].astype(np.float64)
    is_pca = judgement.projection == "pca" or len(rows) < _FEWEST_FOR_TSNE
    places = principal_components(vectors) if is_pca else _tsne(vectors, judgement.seed)
    how = "their two principal components" if is_pca else f"t-SNE, seed {judgement.seed}"
    names = [task.name for task in judgement.tasks]
    lines = -(-max(len(judgement.models), len(names)) // 1)
    chosen = np.bincount(judgement.choice[rows], minlength=len(judgement.models))
    table = tuple((model, str(count)) for model, count in zip(judgement.models, chosen.tolist(), strict=True))
    return Section(
        title="Map of the queries",
        lead=(
            f"{len(rows)} queries, as the router's encoder sees them, by {how}: coloured by the chosen model, and by "
            "task. Distances between far groups mean nothing."
        ),
        pictures=(
            Picture(
                "query_map",
                "The queries in two dimensions, coloured by chosen model and by task.",
                (WIDTH, 3.4 + 0.17 * min(lines, 24)),
                lambda figure, theme: _draw(figure, theme, judgement, places, judgement.choice[rows], tasks),
            ),
        ),
        tables=(TextTable("Queries on the map by chosen model", ("model", "queries"), table),),
    )


def principal_components(vectors_N_D: Floats) -> Floats:
    """The first two principal components (N, 2); each points to where its largest weight is positive."""
    centred = vectors_N_D - vectors_N_D.mean(axis=0)
    _, _, directions = np.linalg.svd(centred, full_matrices=False)
    directions = directions[:2]
    signs = np.sign(directions[np.arange(len(directions)), np.abs(directions).argmax(axis=1)])
    places = centred @ (directions * np.where(signs == 0, 1, signs)[:, None]).T
    return np.pad(places, ((0, 0), (0, 2 - places.shape[1])))


def _tsne(vectors_N_D: Floats, seed: int) -> Floats:
    from sklearn.manifold import TSNE  # type: ignore[import-untyped]

    perplexity = min(_PERPLEXITY, (len(vectors_N_D) - 1) / 3)
    places: Floats = TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(vectors_N_D)
    return places


def _sample(judgement: Judgement) -> tuple[Indices, Indices]:
    """Rows that are drawn, as many of each task as there are to give, and the task of each."""
    rng = np.random.default_rng(judgement.seed)
    index = np.concatenate([np.full(len(task), place) for place, task in enumerate(judgement.tasks)])
    if len(index) <= DRAWN_QUERIES:
        return np.arange(len(index)), index
    each = DRAWN_QUERIES // len(judgement.tasks)
    parts = [rng.permutation(np.flatnonzero(index == place))[:each] for place in range(len(judgement.tasks))]
    rows = np.sort(np.concatenate(parts))
    return rows, index[rows]


def _draw(figure: Figure, theme: Theme, judgement: Judgement, places: Floats, chosen: Indices, tasks: Indices) -> None:
    left, right = figure.subplots(1, 2)
    _scatter(left, theme, places, chosen, short_names(judgement.models, 22), "chosen model")
    _scatter(right, theme, places, tasks, short_names([task.name for task in judgement.tasks], 22), "task")


def _scatter(axes: Axes, theme: Theme, places: Floats, group: Indices, names: list[str], title: str) -> None:
    for index, name in enumerate(names):
        mine = places[group == index]
        if len(mine):
            axes.scatter(
                mine[:, 0], mine[:, 1], s=7, linewidths=0, alpha=0.8, color=theme.color(index),
                marker=theme.marker(index), label=name,
            )  # fmt: skip
    axes.set_title(title)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(visible=False)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.01), markerscale=3, fontsize=8.5)
