"""minigen train MODEL: a new run, or --resume."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from typing import Any

from .. import __version__, models, training
from ..cli import out
from ..errors import MinigenError, TrainingError, UsageError
from ..training.progress import Progress, choose, duration
from .device import check_precision, device_for
from .plan import RUNS, Options, Plan, folder_of, full_name, load_data, make_plan, slug

SHARE_OF_GEMM = 0.35  # how much of the matrix product's speed a whole training step reaches


def main(argv: list[str]) -> int:
    if not argv or argv[0].startswith("-"):
        if argv and argv[0] in ("-h", "--help"):
            out(_help())
            return 0
        raise UsageError(f"minigen train MODEL: name a model first: {', '.join(models.MODELS)}")
    name = argv[0].lower().replace("_", "-")
    module = models.get(name)
    plan = make_plan(name, module, argv[1:])
    device = device_for(plan.options.device)
    check_precision(plan.options.precision, device)
    progress = choose(
        "quiet" if plan.options.quiet else "json" if plan.options.json else "auto"
    )
    return _train(module, plan, ["minigen", "train", *argv], progress, device)


def _help() -> str:
    lines = [f"  {name}" for name in models.MODELS]
    return "\n".join(
        ["usage: minigen train MODEL [options]", "", "models:", *lines, "",
         "minigen train MODEL -h lists the options of each"]
    )  # fmt: skip


def _train(
    module: Any, plan: Plan, command: list[str], progress: Progress, device: str
) -> int:
    options, config = plan.options, plan.config
    from minigen_kernels import use

    from .. import environment

    environment.threads(options.threads)
    environment.keep_freed_memory()
    data = load_data(options.data, "train", plan.data_options)
    module.check(config, data.images.shape[1:])
    if options.dry_run:
        return _dry_run(module, plan, data, device)
    fields = dataclasses.asdict(config)
    found = None
    if plan.resume is None:
        if options.resume == "auto":
            progress.note(f"there is no run of {plan.model} to go on with: a new one begins")
        folder = training.RunFolder.create(options.out, slug(plan.model, options.data), RUNS)
    else:
        folder = training.RunFolder.open(folder_of(plan.resume))
        found = _or_close(folder, _to_go_on_from, folder, plan, fields)
    env = {**environment.environment(), "data": data.digest(), "device": device,
           "precision": options.precision}  # fmt: skip
    tenth = max(1, config.steps // 10)
    run_options = training.RunOptions(
        sample_every=options.sample_every or tenth,
        checkpoint_every=options.checkpoint_every or tenth,
        max_minutes=options.max_minutes,
        keep=options.keep,
    )
    cost = None if device == "cuda" else _cost(module, plan, environment)
    info = training.RunInfo(plan.model, data.name, fields, env, cost)
    made = training.Run(folder, info, run_options, progress, found, device)
    with made as run, _watched(options, run):
        folder.write_config(_to_store(plan, run_options))
        folder.write_start(command, env, run.step)
        if plan.resume is not None and found is None:
            run.say("this run ended before its first checkpoint: it begins again")
        began = time.monotonic()
        with use(precision=options.precision):
            module.train(config, data, _rng(options.seed), run)
        _say_where(run, time.monotonic() - began, progress, options)
    return 0


def _to_go_on_from(
    folder: training.RunFolder, plan: Plan, fields: dict[str, Any]
) -> training.Checkpoint | None:
    """The checkpoint; None for a run that was ended before its first one, to be begun again."""
    assert plan.resume is not None
    if plan.resume.is_dir() and not any(folder.checkpoints.glob("*.safetensors")):
        folder.go_back_to(0, 1)
        return None
    return training.load_for_resume(plan.resume, plan.model, fields)


def _or_close(folder: training.RunFolder, function: Any, *arguments: Any) -> Any:
    try:
        return function(*arguments)
    except BaseException:
        folder.close()
        raise


@contextlib.contextmanager
def _watched(options: Options, run: training.Run):
    """Say when kernels are compiled; with --anomaly, watch every operation; log what ends a run."""
    from minigen_kernels.cpu import jit

    from .. import detect_anomaly

    jit.on_compile(run.progress.compiling)
    try:
        with detect_anomaly() if options.anomaly else contextlib.nullcontext():
            yield
    except FloatingPointError as error:  # of --anomaly
        text = f"{error}: the run cannot go on ({run.kept_so_far})"
        run.folder.log(f"error: {text}")
        raise TrainingError(text) from error
    except MinigenError as error:
        run.folder.log(f"error: {error}")
        raise
    except training.Interrupted:
        raise
    except KeyboardInterrupt:  # before the first step, or after the last
        if run.last_saved is None:
            raise
        text = f"interrupted; {run.kept_so_far}; go on with: {run.again}"
        raise training.Interrupted(text) from None
    finally:
        jit.on_compile(None)


def _rng(seed: int) -> Any:
    from minigen_kernels.random import Generator

    return Generator(seed)


def _to_store(plan: Plan, options: training.RunOptions) -> dict[str, Any]:
    """config.toml: enough to build the model and the data again, and to go on."""
    return {
        "minigen": __version__,
        "model": plan.model,
        "data": full_name(plan.options.data),
        "seed": plan.options.seed,
        "preset": plan.options.preset,
        "run": {
            "precision": plan.options.precision,
            "sample_every": options.sample_every,
            "checkpoint_every": options.checkpoint_every,
            "keep": options.keep,
        },
        "data_options": plan.data_options,
        "config": dataclasses.asdict(plan.config),
    }


def _cost(module: Any, plan: Plan, environment: Any) -> Any:
    def text(parameters: int, steps: int) -> str:
        flop = module.flop_per_step(plan.config)
        seconds = steps * flop / (1e9 * SHARE_OF_GEMM * environment.gemm_gflops())
        batch = getattr(plan.config, "batch", None)
        of = f" of {batch}" if batch else ""
        # Weights, gradients, two moments and an average of them, all float32.
        disk = 16 * parameters / 1e6
        return (
            f"{plan.model} on {plan.options.data}: {parameters:,} parameters, {steps:,} steps{of}, "
            f"about {duration(seconds)} on this CPU, {disk:.0f} MB per checkpoint"
        )

    return text


def _dry_run(module: Any, plan: Plan, data: Any, device: str) -> int:
    """Two steps in memory; the second one tells the time, since the first may compile."""
    from minigen_kernels import use

    run = _Timed(2, device)
    config = dataclasses.replace(plan.config, steps=max(2, plan.config.steps))
    with use(precision=plan.options.precision):
        module.train(config, data, _rng(plan.options.seed), run)
    each = run.times[-1] - run.times[0]
    values = "  ".join(f"{k} {v:.4g}" for k, v in run.logs[-1].items() if k != "step")
    steps = plan.config.steps
    out(
        f"{plan.model} on {plan.options.data}: a step takes {1000 * each:.0f} ms, "
        f"{steps:,} steps {duration(steps * each)}; after 2 steps {values}; nothing was written"
    )
    return 0


class _Timed(training.NullRun):
    """A run in memory that notes when its steps ended."""

    def __init__(self, steps: int, device: str):
        super().__init__(steps, device=device)
        self.times: list[float] = []

    def _end_of_step(self, batch: Any) -> None:
        super()._end_of_step(batch)
        self.times.append(time.perf_counter())


def _say_where(run: training.Run, seconds: float, progress: Progress, options: Options) -> None:
    """The last lines: how long it took, and where the pictures are."""
    progress.close()
    folder, pictures = run.folder.path, sorted(run.folder.samples.glob("*.png"))
    progress.event("end", run=str(folder), step=run.step, stopped=run.stopped, **run.results)
    if options.quiet or options.json:
        return
    results = "".join(f", {k} {v:.4g}" for k, v in run.results.items() if isinstance(v, float))
    if run.stopped is None:
        run.say(f"{run.step} steps in {duration(seconds)}{results}")
    with contextlib.suppress(BrokenPipeError):
        out(f"run: {folder}")
        if pictures:
            out(f"samples: {pictures[-1]}")
