"""The command that writes a pruned model as an ordinary checkpoint.

python -m deprune.export run=<run id> out=<folder>
"""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig

from deprune.core.build import build
from deprune.core.errors import ConfigError
from deprune.core.suggestions import override
from deprune.record import ResultStore, RunRecord
from deprune.run.cli import command, say


@command("export")
def main(cfg: DictConfig) -> None:
    """Exports what the configuration asks for, and says where it is."""
    from deprune.core.memory import Memory
    from deprune.core.subset import BlockSubset
    from deprune.model.checkpoint import check_free, export  # heavy imports wait until there is work
    from deprune.model.load import load_model
    from deprune.model.pruned import PrunedModel
    from deprune.model.source import ModelConfig, read_facts

    record = None if cfg.run is None else _record_of(str(cfg.run), Path(cfg.results_dir))
    if cfg.get("model") is not None:
        model = build(cfg.model, ModelConfig, "model")
    elif record is not None and record.provenance.model_path is not None:
        model = ModelConfig(path=record.provenance.model_path, name=record.factors.model)
    else:
        raise ConfigError("Nothing says which model to prune; give model=<option>, or model=hub model.path=<folder>.")
    if record is not None:
        removed = record.removal.order
    elif cfg.subset is not None:
        removed = blocks_of(cfg.subset)
    else:
        raise ConfigError("Nothing says which blocks to remove; give run=<run id> or subset=[<block>,<block>].")
    check_free(Path(cfg.out))
    memory = Memory()
    subset = BlockSubset.of(memory.once(read_facts, model).n_blocks, removed)
    if not subset.kept:
        raise ConfigError(f"Removing all {subset.n_blocks} blocks leaves none; keep at least one.")
    remark = export(PrunedModel(load_model(model, "cpu", "auto", memory), subset), Path(cfg.out), record)
    say(f"Written and checked: {cfg.out}")
    if remark:
        say(remark)


def blocks_of(subset: Any) -> tuple[Any, ...]:
    """Returns the blocks that `subset` names; raises a ConfigError where it is no list of blocks."""
    if not isinstance(subset, ListConfig) or not subset:
        meant = override("subset", [subset] if type(subset) is int else [3, 4])
        raise ConfigError(f"The value of 'subset' is {subset!r}, but must list the blocks to remove, as in {meant}.")
    return tuple(subset)


def _record_of(run_id: str, results_dir: Path) -> RunRecord:
    record = ResultStore(results_dir).get(run_id)
    if record is None:
        raise ConfigError(
            f"There is no record of run '{run_id}' in {results_dir}; give the name of a folder of "
            f"{results_dir / 'runs'} in run=<run id>, or another results_dir."
        )
    return record


if __name__ == "__main__":
    main()
