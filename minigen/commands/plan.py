"""The options of `minigen train`, and what they come to: a Plan, all that a run is made from."""

from __future__ import annotations

import dataclasses
import glob
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from .. import training
from ..errors import DataError, MinigenError, UsageError, did_you_mean
from ..models.limits import within
from .parsing import given, parse

RUNS = Path("runs")
DATA_OPTIONS = ("image_size", "colour", "skip_broken")  # how the user's own pictures are read


@dataclasses.dataclass(frozen=True)
class Options:
    """Where to read, compute and write, and for how long."""

    data: str = "glyphs"
    """A data set (`minigen data list`), or a folder of your own pictures."""
    image_size: int | None = None
    """Side in pixels that your own pictures are cut to (when not given: 32)."""
    colour: Literal["rgb", "grey"] | None = None
    """How your own pictures are read."""
    skip_broken: bool = False
    """Pass over pictures that cannot be read, instead of stopping."""
    preset: str | None = None
    """A named set of defaults for the options of the model."""
    config: Path | None = None
    """Begin with the options of an earlier run: its config.toml."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """What to compute on; auto takes a GPU if there is one that works, otherwise the CPU."""
    precision: Literal["float32", "tf32x3", "tf32", "bf16"] = "float32"
    """What a GPU rounds the factors of products to; weights and sums stay float32."""
    threads: int | None = None
    """Cores to compute with (when not given: all)."""
    seed: int = 0
    """Of everything random: same seed, same run."""
    out: Path | None = None
    """The run directory (when not given: runs/MODEL-DATA/TIME)."""
    resume: str | None = None
    """Go on with a run: its directory, one of its checkpoints, or auto for the latest."""
    max_minutes: float | None = None
    """Save and stop after so many minutes."""
    sample_every: int | None = None
    """Steps between sample grids (when not given: a tenth of all steps)."""
    checkpoint_every: int | None = None
    """Steps between checkpoints (when not given: a tenth of all steps); one every 5 minutes too."""
    keep: int = 2
    """Checkpoints that are left on the disk."""
    quiet: bool = False
    """Print errors only."""
    json: bool = False
    """Print one JSON object per line, for programs."""
    anomaly: bool = False
    """Stop at the operation that first makes a NaN or Inf, and name it. Slow."""
    dry_run: bool = False
    """Take two steps, say what the whole would cost, write nothing."""
    debug: bool = False
    """Show the traceback of an error."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """Everything that a run is made from, resolved."""

    model: str
    options: Options
    config: Any
    data_options: dict[str, Any]
    resume: Path | None = None


def make_plan(name: str, module: Any, argv: list[str]) -> Plan:
    """Options by weight: those given, then those of the run resumed or --config, the preset's."""
    preset = _value_after(argv, "--preset")
    if preset is not None and preset not in module.PRESETS:
        known = list(module.PRESETS)
        raise UsageError(
            f'{name} has no preset "{preset}".{did_you_mean(preset, known)} '
            f"Presets: {', '.join(known)}."
        )
    base = next(iter(module.PRESETS.values())) if preset is None else module.PRESETS[preset]
    both = dataclasses.make_dataclass(
        "Command",
        [("run", Options, Options()), ("model", type(base), base)],
        namespace={"__doc__": _about(name, module)},
        frozen=True,
    )
    argv = _bare_resume(argv)
    parsed: Any = parse(both, argv, f"train {name}", both())
    options: Options = parsed.run
    explicit = {field: getattr(parsed.model, field) for field in given(type(base), argv)}
    if options.quiet and options.json:
        raise UsageError("--quiet and --json exclude each other: choose one")
    if options.config is not None and preset is not None:
        raise UsageError("--config and --preset exclude each other: both give all defaults")
    within(options, 1, "image_size", "sample_every", "checkpoint_every", "keep")
    within(options, 0, "max_minutes")
    within(options, 0, "seed", below=2**64)
    any_data = "data" not in given(Options, argv)
    resume = None if options.resume is None else _find_run(options, name, any_data)
    if resume is not None:
        return _resumed(name, module, options, explicit, argv, resume)
    return _fresh(name, module, options, explicit, argv)


def _about(name: str, module: Any) -> str:
    """What -h says of a model: its first line, and its presets."""
    first = (module.__doc__ or name).split("\n", 1)[0]
    return f"{first}\n\nPresets: {', '.join(module.PRESETS)}; shown are the defaults of the first."


def _fresh(name: str, module: Any, options: Options, explicit: dict, argv: list[str]) -> Plan:
    """A new run: the preset fitted to the data, or another run's configuration."""
    data_options = given_data_options(options)
    if options.config is None:
        shape = load_data(options.data, "train", data_options).images.shape[1:]
        config = module.config_for(shape, options.preset)
        return Plan(name, options, dataclasses.replace(config, **explicit), data_options)
    stored = training.read_config(options.config)
    config, chosen = _from_stored(name, module, stored, explicit, options.config)
    kept = {k: v for k, v in chosen.items() if k not in given(Options, argv)}
    same_data = "data" not in given(Options, argv)
    return Plan(
        name,
        dataclasses.replace(options, **kept),
        config,
        {**(stored.get("data_options", {}) if same_data else {}), **data_options},
    )


def given_data_options(options: Any) -> dict[str, Any]:
    """Those of DATA_OPTIONS that the user gave, among the options of a command."""
    values = {field: getattr(options, field) for field in DATA_OPTIONS}
    return {field: value for field, value in values.items() if value not in (None, False)}


def _resumed(
    name: str, module: Any, options: Options, explicit: dict, argv: list[str], resume: Path
) -> Plan:
    """An earlier run, as it began; only when it ends, and what it shows, may be said anew."""
    folder = folder_of(resume)
    if resume.is_file() and not (folder / "config.toml").is_file():
        raise MinigenError(
            f"{resume} does not lie in a run directory, whose configuration is needed to go on: "
            "give --resume the directory, or a checkpoint in its ckpt folder"
        )
    stored = training.read_config(folder)
    config, chosen = _from_stored(name, module, stored, explicit, folder)
    now = given(Options, argv)
    began = {**chosen, **stored.get("data_options", {}), "out": folder}
    for field in ("data", "seed", "preset", "config", *DATA_OPTIONS, "out"):
        value, before = getattr(options, field), began.get(field)
        if field == "data":
            value, before = full_name(value), full_name(str(before))
        if field in now and value != before:
            raise UsageError(
                f"--{field.replace('_', '-')} {value} cannot be changed when a run is resumed "
                f"({'it was not given' if before is None else f'it was {before}'}): leave it away, "
                f'or start a new run with --config "{folder / "config.toml"}"'
            )
    kept = {k: v for k, v in chosen.items() if k not in now}
    return Plan(
        name,
        dataclasses.replace(options, **kept),
        config,
        stored.get("data_options", {}),
        resume,
    )


def _from_stored(
    name: str, module: Any, stored: dict, explicit: dict, where: Path
) -> tuple[Any, dict[str, Any]]:
    """(configuration, options of the run) of a config.toml, with what is given explicitly."""
    if stored.get("model", name) != name:
        raise UsageError(
            f"{where} is a run of {stored['model']}, not of {name}: "
            f"minigen train {stored['model']} ..."
        )
    missing = [part for part in ("model", "data", "seed", "config") if part not in stored]
    if missing:
        raise MinigenError(
            f"{where} lacks {', '.join(missing)}, so it is not the configuration of a run: give a "
            "run directory that `minigen train` made, or its config.toml"
        )
    config = config_from(module, stored, where)
    chosen = {"data": stored["data"], "seed": stored["seed"]}
    if "preset" in stored:
        chosen["preset"] = stored["preset"]
    for table, kept in (("run", ("sample_every", "checkpoint_every", "keep", "precision")),
                        ("data_options", DATA_OPTIONS)):  # fmt: skip
        _known_only(stored.get(table, {}), kept, table, where)
    return dataclasses.replace(config, **explicit), {**chosen, **stored.get("run", {})}


def config_from(module: Any, stored: dict, where: Path) -> Any:
    """The model's configuration out of a config.toml's values."""
    default: Any = next(iter(module.PRESETS.values()))
    _known_only(stored["config"], [f.name for f in dataclasses.fields(default)], "config", where)
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in stored["config"].items()}
    for name, value in values.items():
        usual = type(getattr(default, name))
        if type(value) is not usual and not (usual is float and type(value) is int):
            raise MinigenError(
                f"{where}: [config] has {name} = {value!r}, where {usual.__name__} is needed, "
                f"such as {getattr(default, name)!r}"
            )
    return type(default)(**values)


def _known_only(values: dict, known: Sequence[str], table: str, where: Path) -> None:
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise MinigenError(
            f'{where}: [{table}] has "{unknown[0]}", which this version does not know.'
            f"{did_you_mean(unknown[0], sorted(known))}"
        )


def _value_after(argv: list[str], flag: str) -> str | None:
    for i, word in enumerate(argv):
        if word == flag and i + 1 < len(argv):
            return argv[i + 1]
        if word.startswith(flag + "="):
            return word.partition("=")[2]
    return None


def _find_run(options: Options, name: str, any_data: bool) -> Path | None:
    """What --resume means: a directory or a checkpoint; None when auto finds nothing."""
    if options.resume != "auto":
        return Path(str(options.resume))
    if options.out is not None:
        has_run = (options.out / "config.toml").is_file()
        return options.out if has_run else None
    folders = f"{name}-*" if any_data else glob.escape(slug(name, options.data))
    runs = RUNS.glob(f"{folders}/*/ckpt/*.safetensors")
    newest = max(runs, key=lambda path: path.stat().st_mtime, default=None)
    return None if newest is None else newest.parents[1]


def folder_of(resume: Path) -> Path:
    """The run directory that a checkpoint lies in."""
    if not resume.is_file():
        return resume
    return (resume if len(resume.parents) > 1 else resume.absolute()).parents[1]


def slug(model: str, data: str) -> str:
    """dcgan-mnist; a folder of pictures counts by its name."""
    name = Path(data).expanduser().resolve().name if is_path(data) else data
    return f"{model}-{name.lower().replace('_', '-')}"


def full_name(data: str) -> str:
    """A data set's name, or the whole path of a folder of pictures."""
    from ..data.catalogue import key_of

    if is_path(data):
        return str(Path(data).expanduser().resolve())
    return key_of(data)


def is_path(data: str) -> bool:
    from ..data.sources import is_known

    if is_known(data):  # as load() has it: a folder of that name is ./mnist
        return False
    return Path(data).expanduser().exists() or "/" in data or "\\" in data


def _bare_resume(argv: list[str]) -> list[str]:
    """--resume without a value means --resume auto."""
    words = []
    for i, word in enumerate(argv):
        words.append(word)
        if word == "--resume" and (i + 1 == len(argv) or argv[i + 1].startswith("--")):
            words.append("auto")
    return words


def load_data(name: str, split: str, options: dict[str, Any]) -> Any:
    from .. import data

    found = data.load(name, split, **options)
    if not hasattr(found, "images"):
        raise DataError(f"{name} holds points, not images: choose a set of images")
    return found
