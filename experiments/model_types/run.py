"""Which causal types of transformers does deprune handle, and are the numbers those of transformers alone?

    python experiments/model_types/run.py [<type> ...]

Makes a tiny model of every causal type of the installed transformers, each in a process of its own, and writes
`types.csv` and the table of `README.md`. What is known in `results/model_types` is not tried again unless it is named.
"""

from __future__ import annotations

import csv
import importlib.metadata
import json
import os
import signal
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from lm_eval import evaluator as _imported_once  # noqa: F401 (before the first process is made)
from tiny import make_tiny
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
from transformers.utils import logging

from deprune.core.errors import DepruneError
from deprune.core.memory import Memory
from deprune.core.subset import BlockSubset
from deprune.downstream.choices import MultipleChoice
from deprune.model.checkpoint import export
from deprune.model.load import LoadedModel, load_model
from deprune.model.pruned import PrunedModel
from deprune.model.rehearsal import rehearse, sentence
from deprune.model.source import EMBEDDED_FOLDER, ModelConfig
from deprune.model.structure import find_blocks

HERE = Path(__file__).parent
KNOWN = Path("results/model_types")
COLUMNS = ("losses", "removal", "export", "generation", "task")
RIGHT = "right"
SECONDS = 1200
MARK = "<!-- the table: written by run.py -->"
MOST_LETTERS = 300
CLOSE = 1e-4
"""Part of the largest logit by which two ways of computing the same may differ."""

IDS = torch.randint(3, 1000, (2, 40), generator=torch.Generator().manual_seed(3))
Row = dict[str, str]


class Identities:
    """A dense model some of whose blocks return what they are given: the right values, from transformers alone."""

    def __init__(self, model: PreTrainedModel, blocks: nn.ModuleList) -> None:
        self.model, self.blocks, self.is_tuple = model, blocks, {}
        hooks = [block.register_forward_hook(self._note(index)) for index, block in enumerate(blocks)]
        with torch.inference_mode():
            model(IDS, use_cache=False)
        for hook in hooks:
            hook.remove()

    def _note(self, index: int) -> Callable[..., None]:
        def note(module: nn.Module, args: Any, output: Any) -> None:
            self.is_tuple[index] = isinstance(output, tuple | list) and len(output)

        return note

    def logits(self, ids: Tensor, removed: Sequence[int]) -> Tensor:
        """Returns the logits without some blocks."""
        with torch.inference_mode(), self._removed(removed):
            return self.model(ids, use_cache=False).logits

    @contextmanager
    def _removed(self, removed: Sequence[int]) -> Iterator[None]:
        for index in removed:
            self.blocks[index].forward = self._identity(index)
        try:
            yield
        finally:
            for index in removed:
                del self.blocks[index].__dict__["forward"]

    @cached_property
    def _can_cache(self) -> bool:
        """Whether the dense model generates the same with its cache and without."""
        pair = [lambda c=c: greedy(self.model, 48, use_cache=c) for c in (True, False)]
        found = outcome_of(lambda: "" if pair[0]().equal(pair[1]()) else "no")
        return found == RIGHT

    def generates_as(self, exported: PreTrainedModel, removed: Sequence[int]) -> str:
        """Returns how a checkpoint generates other tokens, or nothing; with its cache, if the dense model can."""
        ids = greedy(exported) if self._can_cache else greedy(exported, use_cache=False)
        with self._removed(removed):
            expected = greedy(self.model, use_cache=False)
        return "" if ids.equal(expected) else f"generates {ids[:, 12:].tolist()}, not {expected[:, 12:].tolist()}"

    def _identity(self, index: int) -> Callable[..., Any]:
        def forward(*args: Any, **kwargs: Any) -> Any:
            hidden = args[0] if args else kwargs["hidden_states"]
            width = self.is_tuple.get(index)
            return (hidden, *[None] * (width - 1)) if width else hidden

        return forward


def subsets(n_blocks: int) -> list[list[int]]:
    """Returns the removals that are tried: the first block, the last, one in the middle, and two."""
    return [[0], [n_blocks - 1], [n_blocks // 2 - 1], [1, n_blocks - 2]]


def differ(got: Tensor, expected: Tensor) -> str:
    """Returns how two logits differ, or nothing."""
    by = (got - expected).abs().max().item()
    limit = CLOSE * expected.abs().max().item()
    return "" if by <= limit else f"logits differ by {by:.2g} of {expected.abs().max():.2g}"


def tried(what: Callable[[list[int]], str], n_blocks: int) -> str:
    """Returns how something went for all subsets: `right`, else what is wrong, else why it was refused."""
    found = {str(subset): outcome_of(lambda s=subset: what(s)) for subset in subsets(n_blocks)}
    for word in ("wrong", "refused"):
        texts = [f"{subset} {text}" for subset, text in found.items() if text.startswith(word)]
        if texts:
            return f"{word}: " + " | ".join(t.replace(f"{word}: ", "") for t in texts)
    return RIGHT


def outcome_of(what: Callable[[], str]) -> str:
    """Returns `right`, `wrong: …` or `refused: …`; what raises anything but a sentence is wrong."""
    try:
        wrong = what()
    except DepruneError as error:
        return f"refused: {error}"
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        return f"wrong: {type(error).__name__}: {' '.join(str(error).split())[:200]} ({where.name})"
    return f"wrong: {wrong}" if wrong else RIGHT


def row_of(kind: str, folder: Path) -> Row:
    """Returns what works of a type, column by column."""
    try:
        model = make_tiny(kind)
        model.save_pretrained(folder / "dense")
    except Exception as error:
        return {"made": f"no: {type(error).__name__}: {' '.join(str(error).split())[:200]}"}
    AutoTokenizer.from_pretrained(EMBEDDED_FOLDER / "tiny_llama").save_pretrained(folder / "dense")
    loaded: list[LoadedModel] = []
    config = ModelConfig(path=str(folder / "dense"), name="m")
    outcome = outcome_of(lambda: loaded.append(load_model(config, "cpu", "float32")) or "")
    if not loaded:
        return {"made": "yes"} | dict.fromkeys(COLUMNS, outcome)
    return {"made": "yes"} | columns_of(loaded[0], folder)


def columns_of(loaded: LoadedModel, folder: Path) -> Row:
    """Tries everything on a loaded model."""
    model = AutoModelForCausalLM.from_pretrained(folder / "dense", dtype=torch.float32).eval()
    truth, n_blocks = Identities(model, find_blocks(model)), loaded.facts.n_blocks
    exports = {}

    def pruned(subset: list[int]) -> PrunedModel:
        return PrunedModel(loaded, BlockSubset.of(n_blocks, subset))

    def allowed(subset: list[int], *, physical: bool) -> None:
        stays = rehearse(loaded, IDS.shape[1], physical, folder)
        if fixed := {block: stays[block] for block in subset if block in stays}:
            raise DepruneError(sentence("M", fixed))

    def losses(subset: list[int]) -> str:
        allowed(subset, physical=False)
        return differ(loaded.stack.run(IDS, BlockSubset.of(n_blocks, subset)), truth.logits(IDS, subset))

    def removal(subset: list[int]) -> str:
        allowed(subset, physical=True)
        with pruned(subset).module() as module, torch.inference_mode():
            return differ(module(IDS, use_cache=False).logits, truth.logits(IDS, subset))

    def exported(subset: list[int]) -> str:
        out = folder / "-".join(map(str, subset))
        export(pruned(subset), out)
        exports[str(subset)] = reloaded = AutoModelForCausalLM.from_pretrained(out, dtype=torch.float32).eval()
        with torch.inference_mode():
            return differ(reloaded(IDS, use_cache=False).logits, truth.logits(IDS, subset))

    def generation(subset: list[int]) -> str:
        if str(subset) not in exports:
            raise DepruneError("not exported")
        return truth.generates_as(exports[str(subset)], subset)

    def task(subset: list[int]) -> str:
        allowed(subset, physical=True)
        rows = MultipleChoice(tasks=("mini_one_hop",), limit=1).score("mini_one_hop", [pruned(subset)], Memory())
        return "" if rows[0] else "no rows"

    tries = dict(zip(COLUMNS, (losses, removal, exported, generation, task), strict=True))
    return {column: tried(what, n_blocks) for column, what in tries.items()}


def greedy(model: PreTrainedModel, n_tokens: int = 12, **how: bool) -> Tensor:
    """Returns the likeliest tokens after a prompt, as `generate` gives them."""
    how |= {"do_sample": False, "num_beams": 1}
    return model.generate(IDS[:, :12], max_new_tokens=n_tokens, eos_token_id=None, pad_token_id=0, **how)


def in_a_process(kind: str) -> Row:
    """Tries a type in a process of its own, so that a crash is a row."""
    sys.stdout.flush()
    file = KNOWN / f"{kind}.json"
    child = os.fork()
    if child == 0:
        signal.alarm(SECONDS)
        with tempfile.TemporaryDirectory() as folder:
            row = {k: v.replace(f"{folder}/dense", "M") for k, v in row_of(kind, Path(folder)).items()}
            file.write_text(json.dumps(row, ensure_ascii=False))
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if status:
        file.write_text(json.dumps({"made": f"no: ended by signal {os.WTERMSIG(status)}"}))
    return json.loads(file.read_text())


def versions() -> Row:
    """Returns the versions on which the table depends."""
    return {package: importlib.metadata.version(package) for package in ("transformers", "torch")}


def write_table(rows: dict[str, Row]) -> None:
    """Writes the table as CSV, and for readers below the mark in `README.md`."""
    with (HERE / "types.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["type", "made", *COLUMNS, *versions()])
        for kind, row in sorted(rows.items()):
            writer.writerow([kind, row["made"], *(row.get(column, "") for column in COLUMNS), *versions().values()])
    counts = Counter(verdict(row) for row in rows.values())
    used = " and ".join(f"{package} {version}" for package, version in versions().items())
    lines = [
        f"With {used}: {len(rows)} types, {len(rows) - counts['not made']} made, {counts['right']} right in all "
        f"columns, {counts['partly refused']} right but for what is refused, {counts['refused']} refused, "
        f"{counts['wrong']} wrong.",
        "",
        f"| type | {' | '.join(COLUMNS)} | why |",
        f"| --- |{' --- |' * (len(COLUMNS) + 1)}",
        *(line_of(kind, row) for kind, row in sorted(rows.items())),
    ]
    readme = HERE / "README.md"
    text = readme.read_text(encoding="utf-8").partition(MARK)[0]
    readme.write_text(f"{text}{MARK}\n\n" + "\n".join(lines) + "\n", encoding="utf-8")


def verdict(row: Row) -> str:
    """Returns what became of a type as a whole."""
    words = {row[column].partition(":")[0] for column in COLUMNS if column in row}
    if not words:
        return "not made"
    if "wrong" in words or words == {RIGHT}:
        return "wrong" if "wrong" in words else RIGHT
    return "refused" if words == {"refused"} else "partly refused"


def line_of(kind: str, row: Row) -> str:
    """Returns a row of the table for readers, with the first reason."""
    if row["made"] != "yes":
        return f"| `{kind}` |{' |' * len(COLUMNS)} not made ({row['made'].removeprefix('no: ')}) |".replace("\n", " ")
    reasons = [row[column].partition(": ")[2] for column in COLUMNS if row[column] != RIGHT]
    reason = reasons[0].replace("|", "·") if reasons else ""
    words = " | ".join(row[column].partition(":")[0] for column in COLUMNS)
    return f"| `{kind}` | {words} | {reason if len(reason) < MOST_LETTERS else reason[:MOST_LETTERS] + ' …'} |"


def main() -> None:
    """Tries all types that are not known, and those that are named; writes the table."""
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    torch.set_num_threads(1)
    KNOWN.mkdir(parents=True, exist_ok=True)
    rows = {}
    for kind in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        file = KNOWN / f"{kind}.json"
        is_known = file.is_file() and kind not in sys.argv[1:]
        rows[kind] = json.loads(file.read_text()) if is_known else in_a_process(kind)
        if not is_known:
            print(kind, verdict(rows[kind]), flush=True)
    write_table(rows)


if __name__ == "__main__":
    main()
