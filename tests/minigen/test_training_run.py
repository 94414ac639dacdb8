"""A resumed run equals the unbroken one; interruptions, kills and bad numbers lose nothing."""

from __future__ import annotations

import importlib.util
import json
import math
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from minigen import training
from minigen.errors import CheckpointError, MinigenError, OutputError, TrainingError
from minigen.training import checkpoint

HERE = Path(__file__).parent
SCRIPT = HERE / "toy_run.py"
spec = importlib.util.spec_from_file_location("toy_run", SCRIPT)
assert spec is not None and spec.loader is not None
toy_run = importlib.util.module_from_spec(spec)
spec.loader.exec_module(toy_run)


@pytest.fixture(autouse=True, scope="module")
def quick_disk():
    """fsync takes most of the time here, and only a power cut would show the difference."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda handle: None)
        yield


def launch(out: Path, *words: object) -> subprocess.Popen:
    root = HERE.parents[1]
    paths = [str(root), str(root / "kernels"), os.environ.get("PYTHONPATH", "")]
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), str(out), *map(str, words)],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
    )


def finish(process: subprocess.Popen) -> tuple[int, str]:
    _, said = process.communicate(timeout=300)
    return process.returncode, said


def lines(out: Path) -> list[dict]:
    """metrics.jsonl without its times."""
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if k != "seconds"} for row in rows]


def wait_for_steps(out: Path, n: int) -> None:
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        if (out / "metrics.jsonl").exists() and len(lines_so_far(out)) >= n:
            return
        time.sleep(0.01)
    raise AssertionError(f"no {n} steps within five minutes")


def lines_so_far(out: Path) -> list[bytes]:
    return (out / "metrics.jsonl").read_bytes().split(b"\n")[:-1]


def assert_equal_runs(one: Path, other: Path) -> None:
    """Same tensors, metrics and samples, bit for bit."""
    assert lines(one) == lines(other)
    a, b = (checkpoint.load(checkpoint.find(path)) for path in (one, other))
    assert a.step == b.step
    arrays = [checkpoint.pack(c.state) for c in (a, b)]
    assert arrays[0][1] == arrays[1][1]
    assert {k: v.tobytes() for k, v in arrays[0][0].items()} == {
        k: v.tobytes() for k, v in arrays[1][0].items()
    }
    pictures = [sorted(p.name for p in (path / "samples").iterdir()) for path in (one, other)]
    assert pictures[0] == pictures[1]
    for name in [f"samples/{name}" for name in pictures[0]] + ["samples.gif"]:
        assert (one / name).read_bytes() == (other / name).read_bytes(), name


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory, quick_disk) -> Path:
    out = tmp_path_factory.mktemp("unbroken") / "run"
    toy_run.start(out)
    return out


def test_the_directory_holds_what_a_run_is_made_of(unbroken):
    found = {p.relative_to(unbroken).as_posix() for p in unbroken.rglob("*") if p.is_file()}
    assert found >= {
        "config.toml", "cmd.txt", "env.json", "metrics.jsonl", "samples.gif", "result.json",
        "samples/000004.png", "samples/000008.png", "samples/000012.png",
        "ckpt/last.safetensors", "ckpt/step-000011.safetensors",
    }  # fmt: skip
    assert len(list((unbroken / "ckpt").iterdir())) == 2
    result = json.loads((unbroken / "result.json").read_text())
    assert result["count"] == 12 and result["finished"] and result["images"] == 48


@pytest.mark.parametrize("stop_at", range(1, 12))
def test_resume_at_every_step_is_exact(unbroken, tmp_path, stop_at):
    out = tmp_path / "run"
    with pytest.raises(RuntimeError):
        break_at(out, stop_at, sample_every=4)
    toy_run.start(out, resume=out)
    assert_equal_runs(unbroken, out)


def test_resume_from_sparse_checkpoints_repeats_what_was_not_saved(unbroken, tmp_path):
    out = tmp_path / "run"
    with pytest.raises(RuntimeError):
        break_at(out, 11, checkpoint_every=3)
    assert len(lines(out)) == 12 and checkpoint.load(checkpoint.find(out)).step == 9
    toy_run.start(out, resume=out)
    assert_equal_runs(unbroken, out)


def break_at(out: Path, step: int, **options) -> None:
    """A run whose loop raises in the step after `step`, as a bug in it would."""
    progress = training.Progress()
    original = progress.step

    def step_then_fail(at, images, values):
        original(at, images, values)
        if at > step:
            raise RuntimeError("broken on purpose")

    progress.step = step_then_fail
    toy_run.start(out, progress=progress, options=options)


def test_more_steps_may_be_asked_for(unbroken, tmp_path):
    out = tmp_path / "run"
    toy_run.start(out, steps=7)
    toy_run.start(out, resume=out, steps=12)
    assert "was to have 7 steps and now has 12" in (out / "log.txt").read_text()
    assert not (out / "samples/000007.png").exists()
    assert_equal_runs(unbroken, out)


def test_a_finished_run_resumed_does_nothing_and_says_so(tmp_path):
    out = tmp_path / "run"
    toy_run.start(out, steps=3)
    before = (out / "ckpt/last.safetensors").read_bytes()
    toy_run.start(out, resume=out)
    assert (out / "ckpt/last.safetensors").read_bytes() == before
    assert "--steps" in (out / "log.txt").read_text()
    assert (out / "samples/000003.png").exists()  # although 3 is no multiple of sample_every


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGTERM or SIGINT to send a child")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_says_how_to_go_on(unbroken, tmp_path, number):
    out = tmp_path / "a run"
    process = launch(out, "--sleep", 0.05, "--checkpoint_every", 1000)
    wait_for_steps(out, 2)
    process.send_signal(number)
    code, said = finish(process)
    assert code == 130, said
    assert f'--resume "{out}"' in said and "Traceback" not in said
    saved = checkpoint.load(out / "ckpt/last.safetensors").step
    assert saved == len(lines(out)) < 12
    assert finish(launch(out, "--resume"))[0] == 0
    assert_equal_runs(unbroken, out)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT to send a child")
def test_a_second_signal_ends_it_at_once(tmp_path):
    out = tmp_path / "run"
    hold = tmp_path / "hold"
    toy_run.start(out, steps=3, hold=str(hold))
    process = launch_held(out, hold, "--resume", "--steps", 12)
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    while "once more to quit" not in process.stderr.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    code, _ = finish(process)  # although nothing lets the step end
    assert code == -signal.SIGINT
    assert checkpoint.load(checkpoint.find(out)).step == 3


def launch_held(out: Path, hold: Path, *words: object) -> subprocess.Popen:
    """A process that is in the middle of a step, and stays there until `hold` is removed."""
    hold.with_suffix(".held").unlink(missing_ok=True)
    hold.touch()
    process = launch(out, "--hold", json.dumps(str(hold)), *words)
    deadline = time.monotonic() + 300
    while not hold.with_suffix(".held").exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    return process


@pytest.mark.parametrize("seed", range(3))
def test_killed_at_any_moment_it_resumes_exactly(unbroken, tmp_path, seed):
    out, rng = tmp_path / "run", random.Random(seed)
    process = launch(out, "--sleep", 0.01)
    wait_for_steps(out, rng.randrange(1, 8))
    time.sleep(rng.random() * 0.03)
    process.kill()
    process.communicate()
    assert len(list((out / "ckpt").glob("*.safetensors"))) >= 1
    if checkpoint.load(checkpoint.find(out)).step < 12:
        assert finish(launch(out, "--resume"))[0] == 0
    assert_equal_runs(unbroken, out)


def test_two_processes_do_not_share_a_directory(tmp_path):
    out = tmp_path / "run"
    first = launch_held(out, tmp_path / "hold")
    for words in ([], ["--resume"]):
        code, said = finish(launch(out, *words))
        assert code == 1 and "in use by process" in said and str(first.pid) in said
    (tmp_path / "hold").unlink()
    assert finish(first)[0] == 0


def test_a_full_directory_is_not_written_into(tmp_path):
    (tmp_path / "holiday.png").write_bytes(b"x")
    with pytest.raises(OutputError, match="not empty.*--resume"):
        toy_run.start(tmp_path)
    assert [p.name for p in tmp_path.iterdir() if p.name != "lock"] == ["holiday.png"]


def test_stamped_directories_differ(tmp_path):
    folders = [training.RunFolder.create(None, "toy-data", tmp_path / "rüns") for _ in range(3)]
    assert len({folder.path for folder in folders}) == 3
    for folder in folders:
        folder.close()


def test_nan_stops_with_one_line_and_keeps_the_last_good_checkpoint(tmp_path):
    code, said = finish(launch(tmp_path / "run", "--nan_at", 6))
    assert code == 1 and "Traceback" not in said
    message = said.splitlines()[-1]
    assert "loss is nan at step 6" in message and "--anomaly" in message and "step 5" in message
    saved = checkpoint.load(checkpoint.find(tmp_path / "run"))
    assert saved.step == 5 and np.isfinite(saved.state["toy"]["w"]).all()


def test_weights_that_are_not_finite_are_never_saved(tmp_path):
    with pytest.raises(TrainingError, match="toy.w holds NaN"):
        folder = training.RunFolder.create(tmp_path / "run", "toy-data")
        with training.Run(folder, training.RunInfo("toy")) as run:
            toy = toy_run.Toy(4)
            run.keep(toy=toy)
            for _ in run.steps(toy_run.Batches(), 1):
                toy.w[2] = np.nan
    assert list((tmp_path / "run/ckpt").glob("*")) == []


def test_time_up_ends_cleanly(unbroken, tmp_path):
    out = tmp_path / "run"
    run = toy_run.start(out, options={"max_minutes": 0.0})
    assert run.stopped == "time" and run.step == 1 == checkpoint.load(checkpoint.find(out)).step
    assert (out / "samples/000001.png").exists()
    toy_run.start(out, resume=out)
    assert_equal_runs(unbroken, out)


def test_samples_stay_when_the_rest_is_sampled_at_other_steps(tmp_path):
    out = tmp_path / "run"
    toy_run.start(out, steps=9)
    toy_run.start(out, resume=out, steps=15, options={"sample_every": 5})
    names = sorted(path.stem for path in (out / "samples").iterdir())
    assert names == ["000004", "000008", "000010", "000015"]


def test_a_spoilt_sample_does_not_end_a_run(tmp_path):
    out = tmp_path / "run"
    toy_run.start(out, steps=5)
    (out / "samples/000004.png").write_bytes(b"not a picture")
    (out / "samples/my favourite.png").write_bytes(b"nor this")
    assert toy_run.start(out, resume=out, steps=12).step == 12
    assert (out / "samples/my favourite.png").exists()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
def test_a_disk_that_is_full_at_the_first_step(tmp_path):
    folder = training.RunFolder.create(tmp_path / "run", "toy-data")
    folder.metrics.symlink_to("/dev/full")
    with training.Run(folder, training.RunInfo("toy", "data", toy_run.DEFAULTS)) as run:
        with pytest.raises(OutputError, match="No space left.*no checkpoint yet.*--resume"):
            toy_run.train(toy_run.DEFAULTS, run)


def test_a_line_of_metrics_that_was_half_written_is_an_error(tmp_path, monkeypatch):
    class Short:
        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def write(self, data):
            return len(data) // 2

    folder = training.RunFolder.create(tmp_path / "run", "toy-data")
    with training.Run(folder, training.RunInfo("toy", "data", toy_run.DEFAULTS)) as run:
        original = Path.open
        monkeypatch.setattr(
            Path, "open",
            lambda self, *a, **k: Short() if self == folder.metrics else original(self, *a, **k),
        )  # fmt: skip
        with pytest.raises(OutputError, match="No space left"):
            toy_run.train(toy_run.DEFAULTS, run)


def test_another_environment_is_named(tmp_path):
    out = tmp_path / "run"
    toy_run.start(out, steps=3)
    file = checkpoint.find(out)
    saved = checkpoint.load(file)
    saved.info["env"]["threads"] = 64
    file.write_bytes(checkpoint.encode(saved))
    toy_run.start(out, resume=out, steps=4)
    assert "threads 64 → 1" in (out / "log.txt").read_text()


def test_another_model_or_configuration_is_refused(tmp_path):
    out = tmp_path / "run"
    run = toy_run.start(out, steps=3)
    config = run.info.config
    with pytest.raises(CheckpointError, match="checkpoint of toy, not of vae.*train toy --resume"):
        training.load_for_resume(out, "vae", config)
    with pytest.raises(CheckpointError, match=r"size = 64 \(now 65\)"):
        training.load_for_resume(out, "toy", {**config, "size": 65})
    with pytest.raises(CheckpointError, match="no run directory"):
        training.load_for_resume(tmp_path / "nowhere", "toy", config)
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match="holds no checkpoint"):
        training.load_for_resume(tmp_path / "empty", "toy", config)


def test_state_that_does_not_fit_is_refused(tmp_path):
    out = tmp_path / "run"
    toy_run.start(out, steps=3)
    found = training.load_for_resume(out, "toy", toy_run.DEFAULTS | {"steps": 3})
    folder = training.RunFolder.open(out)
    with training.Run(folder, training.RunInfo("toy"), resume=found) as run:
        with pytest.raises(CheckpointError, match=r"holds \['batches', 'rng', 'toy'\]"):
            run.keep(toy=toy_run.Toy(64))
    with training.Run(training.RunFolder.open(out), training.RunInfo("toy"), resume=found) as run:
        things = {"toy": toy_run.Toy(65), "rng": toy_run.Batches(), "batches": toy_run.Batches()}
        with pytest.raises(CheckpointError, match="toy: w has shape"):
            run.keep(**things)


def test_null_run_keeps_its_logs(tmp_path):
    run = training.NullRun(steps=5, draw=True)
    toy_run.train(toy_run.DEFAULTS, run)
    assert [line["step"] for line in run.logs] == [1, 2, 3, 4, 5]
    assert all(math.isfinite(line["loss"]) for line in run.logs)
    assert run.results == {"count": 5}
    assert run.samples is not None and run.samples.shape == (9, 1, 8, 8)
    with pytest.raises(TrainingError, match="loss is nan at step 5"):
        run.log(loss=float("nan"))
    with pytest.raises(TypeError, match="no state_dict"):
        training.NullRun().keep(rng=3)


def test_errors_of_training_are_minigens():
    assert issubclass(TrainingError, MinigenError)
