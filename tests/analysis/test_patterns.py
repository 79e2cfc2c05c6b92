"""Patterns: the decomposition is PERMANOVA, permutations are exact, and likeness is what it says."""

from __future__ import annotations

import itertools
import warnings
from dataclasses import replace
from functools import cache

import numpy as np
import pandas as pd
import pytest
from made import make_results, make_runs
from scipy.spatial.distance import pdist, squareform

from deprune.analysis.patterns.consensus import chance_jaccard, consensus, dispersion
from deprune.analysis.patterns.masks import decompose_patterns, masks_of
from deprune.analysis.read.results import Results
from deprune.analysis.variance.panel import build_panel
from deprune.analysis.variance.permute import permutation_p, permutations
from deprune.core.errors import AnalysisError
from tests.analysis.sweeps import plain

SMALL = {"model": ("m0",), "budget": (3,), "calib_dataset": ("c4", "code", "facts"), "objective": ("nll",)}
N_BLOCKS = 12


def random_bits(rng: np.random.Generator, weights: np.ndarray, size: int) -> str:
    removed = rng.choice(N_BLOCKS, size, replace=False, p=weights / weights.sum())
    return "".join("1" if block in removed else "0" for block in range(N_BLOCKS))


def results_with_patterns(levels: dict[str, tuple[object, ...]] = SMALL, seed: int = 0, **options: object) -> Results:
    """Each calibration data set prefers blocks of its own."""
    rng = np.random.default_rng(seed)
    runs = make_runs(levels, **options)  # type: ignore[arg-type]
    taste = {d: rng.gamma(0.5, size=N_BLOCKS) + 0.05 for d in runs["calib_dataset"].cat.categories}
    bits = [random_bits(rng, taste[d], int(k)) for d, k in zip(runs["calib_dataset"], runs["budget"], strict=True)]
    return make_results(runs.assign(subset=bits, n_blocks=N_BLOCKS), np.full(len(runs), 50.0))


def test_the_decomposition_is_permanova_of_scikit_bio() -> None:
    from skbio.stats.distance import DistanceMatrix, permanova

    results = results_with_patterns({**SMALL, "search": ("greedy",)}, n_seeds=6)
    panel = build_panel(results.runs, masks_of(results.runs))
    masks = panel.values
    # skbio squares what it is given, so it gets the root of the symmetric difference.
    distances = np.sqrt(squareform(pdist(masks, "hamming") * N_BLOCKS))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = permanova(
            DistanceMatrix(distances, [str(i) for i in range(len(masks))]),
            panel.rows["calib_dataset"].astype(str).tolist(), permutations=0,
        )  # fmt: skip
    n, levels = len(masks), 3
    between = plain(panel).terms[1] * n
    total = ((masks - masks.mean(axis=0)) ** 2).sum()
    ours = between / (levels - 1) / ((total - between) / (n - levels))
    assert ours == pytest.approx(theirs["test statistic"], rel=1e-9)


def test_components_are_gower_centred_sums_of_squares() -> None:
    """tr(H A H B) with H a term's projector and B the Gower-centred squared distances, by matrix algebra alone."""
    results = results_with_patterns(n_seeds=1)
    panel = build_panel(results.runs, masks_of(results.runs))
    cube = panel.cube()[:, 0, :]  # blocks × cells
    squared = ((cube[:, :, None] - cube[:, None, :]) ** 2).sum(axis=0)
    centring = np.eye(panel.grid.n_cells) - 1 / panel.grid.n_cells
    gower = -0.5 * centring @ squared @ centring
    design = panel.grid.design(2)[0]
    for i in range(1, len(panel.grid.terms)):
        columns = design[:, panel.grid.term_of == i]
        projector = columns @ columns.T / panel.grid.n_cells
        assert plain(panel).terms[i] == pytest.approx(np.trace(projector @ gower) / panel.grid.n_cells, abs=1e-12)


def test_blocks_add_up_to_the_whole() -> None:
    result = decompose_patterns(results_with_patterns(), "m0", n_resamples=50)
    headline = result.headline.set_index("quantity")["variance"]
    for quantity, variance in headline.items():
        assert result.by_block[quantity].sum() == pytest.approx(variance)
    assert result.by_block["removed"].sum() == pytest.approx(3)
    assert result.tests.set_index("effect").loc["calibration", "p"] <= 0.01
    assert headline["V_C"] > headline["V_S"]


def test_permutation_p_is_that_of_full_enumeration() -> None:
    """Three data sets of two draws: 720 orders, written out here; the same by random permutations."""
    runs = make_runs({**SMALL, "search": ("greedy", "beam")}, n_seeds=2)
    rng = np.random.default_rng(1)
    panel = build_panel(runs, pd.Series(rng.standard_normal(len(runs)), index=runs.index, name="y"))
    draws = pd.Series(panel.values).groupby(panel.draws).mean().to_numpy()
    labels = panel.rows["calib_dataset"].cat.codes.groupby(panel.draws).first().to_numpy()

    def between(values: np.ndarray) -> float:
        return float(sum((values[labels == d].mean() - values.mean()) ** 2 for d in range(3)))

    every = np.array([between(draws[list(order)]) for order in itertools.permutations(range(6))])
    expected = (every >= between(draws) * (1 - 1e-9)).mean()
    assert permutation_p(panel, "calibration", 720, rng) == pytest.approx(expected)
    sampled = permutation_p(panel, "calibration", 719, rng)  # one too few for all
    assert sampled == pytest.approx(expected, abs=4 * np.sqrt(expected * (1 - expected) / 719) + 1 / 720)
    # Search: each of six draws may be flipped.
    swaps = np.diff(panel.cube().reshape(2, 3, 2), axis=2).ravel()
    signs = np.array(list(itertools.product([1, -1], repeat=6)))
    flipped = np.abs(signs @ swaps)
    assert permutation_p(panel, "search", 100, rng) == pytest.approx((flipped >= abs(swaps.sum()) * (1 - 1e-9)).mean())


def test_permutations_move_whole_draws() -> None:
    runs = make_runs({"model": ("m0", "m1"), "calib_dataset": ("c4", "code"), "search": ("greedy", "beam")}, n_seeds=2)
    panel = build_panel(runs, pd.Series(0.0, index=runs.index, name="y"))
    sources, exact = permutations(panel, "calibration", 50, np.random.default_rng(0))
    assert not exact
    draw_at = np.empty(panel.counts.size, dtype=int)
    draw_at[panel.seeds * panel.grid.n_cells + panel.cells] = panel.draws
    model_of = panel.rows["model"].cat.codes.groupby(panel.draws).first()
    for source in sources:
        assert sorted(source) == list(range(len(source)))
        moved = pd.Series(draw_at[source]).groupby(draw_at)
        assert (moved.nunique() == 1).all()
        assert (model_of[moved.first()].to_numpy() == model_of.to_numpy()).all()


def test_one_seed_cannot_test_the_calibration() -> None:
    runs = make_runs(SMALL, n_seeds=1)
    panel = build_panel(runs, pd.Series(np.arange(len(runs), dtype=float), index=runs.index, name="y"))
    assert np.isnan(permutation_p(panel, "calibration", 100, np.random.default_rng(0)))


@pytest.mark.parametrize(
    ("n_blocks", "size", "chance"), [(32, 7, 0.130), (32, 9, 0.170), (36, 7, 0.114), (36, 9, 0.149), (6, 2, 0.244)]
)
def test_chance_of_likeness(n_blocks: int, size: int, chance: float) -> None:
    assert chance_jaccard(n_blocks, size) == pytest.approx(chance, abs=0.0006)
    rng = np.random.default_rng(0)
    masks = rng.random((4000, n_blocks)).argsort(axis=1) < size
    both = (masks[::2] & masks[1::2]).sum(axis=1)
    assert (both / (2 * size - both)).mean() == pytest.approx(chance, abs=0.01)


def test_consensus_against_a_loop_over_pairs() -> None:
    results = results_with_patterns()
    table = consensus(results).set_index("kind")
    runs = results.runs
    likeness: dict[str, list[float]] = {"within calibration": [], "within search": [], "within configuration": []}
    for a, b in itertools.combinations(range(len(runs)), 2):
        x, y = runs.iloc[a], runs.iloc[b]
        first, second = ({i for i, bit in enumerate(r["subset"]) if bit == "1"} for r in (x, y))
        same_calib, same_search = x["calib_config"] == y["calib_config"], x["search"] == y["search"]
        same_seed = x["calib_seed"] == y["calib_seed"]
        if same_calib and same_seed and not same_search:
            kind = "within calibration"
        elif same_search and not same_calib:
            kind = "within search"
        elif same_search and same_calib and not same_seed:
            kind = "within configuration"
        else:
            continue
        likeness[kind].append(len(first & second) / len(first | second))
    for kind, values in likeness.items():
        assert table.loc[kind, "jaccard"] == pytest.approx(np.mean(values))
        assert table.loc[kind, "pairs"] == len(values)
        assert table.loc[kind, "low"] <= np.mean(values) <= table.loc[kind, "high"]
    difference = np.mean(likeness["within calibration"]) - np.mean(likeness["within search"])
    assert table.loc["difference", "jaccard"] == pytest.approx(difference)
    assert difference > 0


@pytest.mark.parametrize("objectives", [("nll",), ("nll", "kl")])
def test_p_of_the_difference_is_that_of_a_loop_over_all_exchanges(objectives: tuple[str, ...]) -> None:
    """Two corpora of two or three draws, which two objectives share: 720 or 24 orders, written out here."""
    n_seeds = 3 if len(objectives) == 1 else 2
    levels = {**SMALL, "calib_dataset": ("c4", "code"), "objective": objectives, "search": ("greedy", "beam", "ga")}
    results = results_with_patterns(levels, seed=7, n_seeds=n_seeds)
    runs = results.runs
    sets = [{i for i, bit in enumerate(subset) if bit == "1"} for subset in runs["subset"]]
    draws = sorted(runs["calib_sample_id"].unique())
    corpus_of = runs.groupby("calib_sample_id")["calib_dataset"].first().astype(str).to_dict()

    @cache
    def difference(labels: tuple[str, ...]) -> float:
        corpora = dict(zip(draws, labels, strict=True))
        within_draw, within_search = [], []
        for a, b in itertools.combinations(range(len(runs)), 2):
            x, y = runs.iloc[a], runs.iloc[b]
            likeness = len(sets[a] & sets[b]) / len(sets[a] | sets[b])
            first, second = ((corpora[r["calib_sample_id"]], r["objective"]) for r in (x, y))
            if first == second and x["calib_sample_id"] == y["calib_sample_id"] and x["search"] != y["search"]:
                within_draw.append(likeness)
            elif first != second and x["search"] == y["search"]:
                within_search.append(likeness)
        return float(np.mean(within_draw) - np.mean(within_search))

    observed = difference(tuple(corpus_of[draw] for draw in draws))
    every = [difference(labels) for labels in itertools.permutations(corpus_of[draw] for draw in draws)]
    found = consensus(results).set_index("kind").loc["difference"]
    assert found["jaccard"] == pytest.approx(observed)
    assert found["p"] == pytest.approx(np.mean(np.array(every) >= observed - 1e-9))


def test_consensus_of_one_draw_per_configuration_has_no_p() -> None:
    assert np.isnan(consensus(results_with_patterns(n_seeds=1)).set_index("kind").loc["difference", "p"])


def test_p_of_the_difference_keeps_its_level_and_has_power() -> None:
    """Draws that differ without a configuration, and with one twice as strong."""
    rng = np.random.default_rng(0)
    runs = make_runs({**SMALL, "search": ("greedy", "beam")}, n_seeds=3)
    found = {0.0: 0, 2.0: 0}
    for strength in found:
        for _ in range(60):
            of_draw = {draw: rng.standard_normal(N_BLOCKS) for draw in runs["calib_sample_id"].unique()}
            of_corpus = {d: strength * rng.standard_normal(N_BLOCKS) for d in ("c4", "code", "facts")}
            taste = [
                of_draw[s] + of_corpus[d] for s, d in zip(runs["calib_sample_id"], runs["calib_dataset"], strict=True)
            ]
            ranks = (np.array(taste) + 0.3 * rng.standard_normal((len(runs), N_BLOCKS))).argsort(axis=1).argsort(axis=1)
            bits = ["".join("1" if rank < 3 else "0" for rank in row) for row in ranks]
            results = make_results(runs.assign(subset=bits, n_blocks=N_BLOCKS), np.full(len(runs), 50.0))
            found[strength] += consensus(results).set_index("kind").loc["difference", "p"] <= 0.05
    assert found[0.0] <= 9  # more in 1 of 1000 such tests, if the level is 5 %
    assert found[2.0] >= 50


def test_dispersion_tells_scatter_from_place() -> None:
    results = results_with_patterns(seed=3)
    runs = results.runs.copy()
    fixed = runs["calib_dataset"] == "c4"
    runs.loc[fixed, "subset"] = "111000000000"
    table = dispersion(replace(results, runs=runs)).query("factor == 'calib_dataset'").set_index("level")
    assert table.loc["c4", "difference"] == 0
    assert table.loc["c4", "distinct"] == 1
    others = [results.runs.loc[runs["calib_dataset"] == "code", "subset"]]
    bits = np.array([[int(b) for b in s] for s in others[0]])
    assert table.loc["code", "difference"] == pytest.approx(pdist(bits, "cityblock").mean())


def test_patterns_of_an_unknown_model_or_of_none() -> None:
    results = results_with_patterns()
    with pytest.raises(AnalysisError, match="no model 'm9'"):
        decompose_patterns(results, "m9")
    with pytest.raises(AnalysisError, match="without removed blocks"):
        decompose_patterns(replace(results, runs=results.runs.assign(subset=pd.NA)), "m0")
