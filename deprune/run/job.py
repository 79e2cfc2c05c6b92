"""One job from its configuration to its record: the one place where the pieces are joined."""

import logging
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import NamedTuple

from tqdm import tqdm

from deprune.core.build import name_of
from deprune.core.errors import DepruneError
from deprune.core.fingerprint import digest_of, file_name_of
from deprune.core.randomness import generator
from deprune.core.subset import BlockSubset
from deprune.downstream.scoring import ScoresByScorer, score_models, scores_file
from deprune.evaluator.base import Evaluation
from deprune.evaluator.evaluator import SubsetEvaluator
from deprune.model.load import LoadedModel
from deprune.model.pruned import PrunedModel
from deprune.objective.base import Objective
from deprune.objective.task_error import TaskError
from deprune.record import ResultStore
from deprune.record.evaluations import EvaluationStore
from deprune.record.schema import SCHEMA_VERSION, Cost, Draw, Removal, RunRecord, SearchFacts
from deprune.run.config import RunConfig
from deprune.run.identity import ResolvedRun
from deprune.run.outcome import Stopwatch
from deprune.run.preparation import Preparation, Prepared
from deprune.run.recording import factors_of, peak_memory, provenance_of, scores_of
from deprune.run.session import Session
from deprune.search.base import Problem, SearchResult
from deprune.tracking import track

log = logging.getLogger(__name__)


class Searched(NamedTuple):
    """What searching gave: the subset, what the record says of it, what was evaluated, and where that lies."""

    subset: BlockSubset
    removal: Removal
    evaluations: dict[str, int]
    stores: dict[str, str]


@dataclass(frozen=True)
class Job:
    """What to do, what that comes to, and what earlier jobs loaded and built."""

    config: RunConfig
    run: ResolvedRun
    session: Session

    def do(self, sweep: str, watch: Stopwatch) -> None:
        """Does the job as a part of a sweep, of which it needs the name, and leaves its record.

        Raises:
            DepruneError: The job cannot be done; the message says why. Nothing was recorded.
        """
        config, run = self.config, self.run
        ready = Preparation(config, run, self.session).do(watch)
        loaded, samples = ready.loaded, ready.samples
        whole = PrunedModel(loaded, BlockSubset(run.space.n_blocks))
        with watch.phase("search"):
            store = self._store(loaded, config.objective)
            evaluator = self._evaluator(ready, config.objective, store)
            reference = self._finite(evaluator, whole.subset, "dense")
        with watch.phase("evaluation"):  # of the dense model first: what cannot be scored shows before the search
            (dense,) = self._score([whole], kept=True)
        with watch.phase("search"):
            found = self._search(ready, evaluator, store, reference)
        with watch.phase("treatment"):
            rng = generator(config.seed, "treatment", name_of(config.treat))
            pruned = config.treat.treated(PrunedModel(loaded, found.subset), samples, rng)
        with watch.phase("evaluation"):
            (scores,) = self._score([pruned], kept=True)
            dense_timed, timed = self._score([whole, pruned], kept=False)
        watch.current = "recording"
        draw_id = f"{config.calib.name}/seed {config.calib.seed}/{config.model.label}"
        record = RunRecord(
            schema_version=SCHEMA_VERSION,
            run_id=run.run_id,
            status="done",
            identity=run.identity,
            factors=factors_of(config, run),
            draw=Draw(samples.sample_id, samples.token_hash, draw_id, samples.n_tokens),
            removal=found.removal,
            scores=scores_of(scores | timed, dense | dense_timed),
            cost=Cost(found.evaluations["requested"], found.evaluations, watch.seconds, peak_memory(run.device)),
            provenance=provenance_of(config, run, ready.warnings, found.stores | {"downstream": scores_file(pruned)}),
        )
        path = ResultStore(config.results_dir).put(record)
        track(config.tracking, record, path, config.results_dir, sweep)

    def _score(self, models: Sequence[PrunedModel], *, kept: bool) -> list[ScoresByScorer]:
        """Returns the scores of models by those scorers whose scores may serve other runs, or by the others."""
        config, memory = self.config, self.session.memory
        scorers = {key: scorer for key, scorer in config.eval.scorers.items() if scorer.is_kept == kept}
        return score_models(models, scorers, config.results_dir / "downstream", memory, fresh=config.force)

    def _evaluator(self, ready: Prepared, objective: Objective, store: EvaluationStore) -> SubsetEvaluator:
        return SubsetEvaluator(ready.loaded.stacks, ready.samples, objective, self.config.evaluator, store)

    def _finite(self, evaluator: SubsetEvaluator, subset: BlockSubset, which: str) -> Evaluation:
        """Returns an evaluation on all samples; raises a DepruneError where the loss is no number."""
        (evaluation,) = evaluator.evaluate([subset])
        if not math.isfinite(evaluation.loss):
            raise DepruneError(
                f"The loss of the {which} model on {self.config.calib.name} is not finite; use dtype=float32 or "
                "bfloat16, and check that the weights are whole."
            )
        return evaluation

    def _search(
        self, ready: Prepared, evaluator: SubsetEvaluator, store: EvaluationStore, reference: Evaluation
    ) -> Searched:
        config, space = self.config, ready.space
        result = SearchResult(reference.subset, ())
        with tqdm(desc=name_of(config.search), unit=" subsets", leave=False, delay=1) as bar:
            problem = Problem(space, evaluator, bar)
            if space.budget:
                result = config.search.run(problem, generator(config.seed, "search", name_of(config.search)))
            if result.subset not in space:
                raise AssertionError(f"the search {name_of(config.search)} returned {result.subset}, outside its space")
            problem.losses([result.subset])
        pruned = self._finite(evaluator, result.subset, "pruned")
        accuracy, dense_accuracy = self._accuracies(ready, result.subset)
        removal = Removal(
            n_blocks=space.n_blocks,
            subset=result.subset.bits(),
            order=result.order,
            unit=config.objective.unit,
            loss=pruned.loss,
            stderr=pruned.stderr,
            dense_loss=reference.loss,
            accuracy=accuracy,
            dense_accuracy=dense_accuracy,
            trace=tuple(asdict(point) for point in problem.trace),
            racing="racing" in self.run.identity,
            search=SearchFacts(**config.search.facts()) if space.budget else None,
            fixed=ready.fixed,
        )
        evaluations = {**asdict(evaluator.counter), "damaged_lines": store.n_damaged}
        stores = {"evaluations": store.name, "samples": evaluator.name_samples()}
        return Searched(result.subset, removal, evaluations, stores)

    def _accuracies(self, ready: Prepared, subset: BlockSubset) -> tuple[float | None, float | None]:
        """Returns the accuracy of the pruned and the dense model on calibration items; None where there are none."""
        if ready.samples.answers is None:
            return None, None
        error = TaskError()
        evaluator = self._evaluator(ready, error, self._store(ready.loaded, error))
        pruned, dense = evaluator.losses([subset, BlockSubset(subset.n_blocks)])
        return 1 - pruned, 1 - dense

    def _store(self, loaded: LoadedModel, objective: Objective) -> EvaluationStore:
        """Returns the store of all evaluations that may be compared with this run's.

        Everything that can change a loss is in its name, but for the samples and the subset.
        """
        context = {**loaded.identity(), "objective": objective.identity()}
        name = f"{file_name_of(self.config.model.label)}-{name_of(objective)}-{digest_of(context)}"
        return self.session.store(self.config.results_dir / "evaluations" / name, fresh=self.config.force)
