"""The command line: what it writes, what it refuses and how, exit codes, pipes, strange folders."""

from __future__ import annotations

import contextlib
import errno
import importlib
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import minigen_kernels
import numpy as np
import pytest

from minigen import cli, environment, images, models, testing, training
from minigen.commands import plan
from minigen.errors import OutputError
from minigen.images import write_atomically
from minigen.training import checkpoint

HERE = Path(__file__).parent
SCRIPT = HERE / "toy_model.py"


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    """A folder of a dozen small grey pictures."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("my pictures")
    x = np.random.default_rng(0).integers(0, 256, (12, 8, 8), dtype=np.uint8)
    for i, pixels in enumerate(x):
        Image.fromarray(pixels).save(folder / f"{i}.png")
    return folder


@pytest.fixture
def minigen(monkeypatch, tmp_path, capsys):
    """minigen(*words) -> (exit code, stdout, stderr), in this process, in an empty folder."""
    spec = importlib.util.spec_from_file_location("toy_model", SCRIPT)
    assert spec is not None and spec.loader is not None
    toy = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "toy_model", toy)
    spec.loader.exec_module(toy)
    monkeypatch.setitem(models.MODELS, "toy", "toy_model")
    monkeypatch.setattr(os, "fsync", lambda handle: None)
    monkeypatch.setattr(environment, "gemm_gflops", lambda: 10.0)
    monkeypatch.chdir(tmp_path)

    def call(*words: object) -> tuple[int, str, str]:
        code = cli.main([str(word) for word in words])
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        return code, said.out, said.err

    return call


@pytest.fixture
def toy(minigen, pictures):
    """toy(*words): train the toy on the pictures."""

    def call(*words: object) -> tuple[int, str, str]:
        return minigen(
            "train", "toy", "--data", pictures, "--image-size", 8, "--colour", "grey", *words
        )

    return call


def refused(result: tuple[int, str, str], code: int, *parts: str) -> None:
    """One line on stderr, this exit code, these words."""
    assert result[0] == code, result
    lines = [line for line in result[2].splitlines() if line.startswith("minigen: error: ")]
    assert len(lines) == 1, result
    for part in parts:
        assert part in lines[0], lines[0]


def metrics(run: Path) -> list[dict]:
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if k != "seconds"} for row in rows]


# ---- overview, help


@pytest.mark.parametrize("words", [(), ("-h",), ("--help",)])
def test_help_lists_the_commands(minigen, words):
    code, said, _ = minigen(*words)
    assert code == 0 and all(command in said for command in cli.COMMANDS)


@pytest.mark.parametrize("name", ["dcgan", "vae", "image-gpt"])
def test_the_help_of_a_hyper_parameter_is_whole(name):
    """The help is the comment on a field's own line: what is below it would be cut off."""
    source = Path(models.get(name).__file__).read_text(encoding="utf-8")
    body = source.partition("class Config:")[2].partition("def __post_init__")[0]
    fields = body.strip().splitlines()[2:]
    assert len(fields) > 8 and all(": " in line and " = " in line for line in fields if line)


def test_the_help_of_a_model_names_its_presets(minigen):
    assert "Presets: small, large" in minigen("train", "toy", "-h")[1]


def test_version(minigen):
    assert minigen("--version")[1].startswith("minigen 0.")


def test_help_of_a_model_has_its_fields_reasons_and_defaults(minigen):
    code, said, _ = minigen("train", "toy", "-h")
    words = " ".join(said.replace("│", " ").split())
    assert code == 0
    assert "--lr FLOAT how far a step goes (default: 0.1)" in words
    assert "--max-minutes" in words and "--resume" in words and "--betas" in words


@pytest.mark.parametrize("command", [c for c in cli.COMMANDS if c != "train"])
def test_every_command_has_help(minigen, command):
    code, said, _ = minigen(command, "-h")
    assert code == 0 and "usage" in said


# ---- wrong words


@pytest.mark.parametrize(
    "words, parts",
    [
        (("trian",), ('no command "trian"', 'Did you mean "train"?')),
        (("train",), ("name a model first",)),
        (("train", "tiy"), ('no model "tiy"', 'Did you mean "toy"?')),
        (("train", "toy", "--data", "mnits"), ('"mnits"', 'Did you mean "mnist"?')),
        (("train", "toy", "--stpes", "3"), ('unknown option "--stpes"', 'Did you mean "--steps"?')),
        (("train", "toy", "--max-minuts=3"), ('Did you mean "--max-minutes"?',)),
        (("train", "toy", "--lr", "fast"), ("--lr", "fast")),
        (("train", "toy", "--device", "gpu"), ("--device", "cuda")),
        (("train", "toy", "--preset", "lagre"), ('no preset "lagre"', 'Did you mean "large"?')),
        (("train", "toy", "--quiet", "--json"), ("exclude each other",)),
        (("train", "toy", "surplus"), ('unknown argument "surplus"',)),
        (("sample", "nowhere", "--threads", "100000"), ("--threads 100000", "1 to")),
        (("sample",), ("name a run directory",)),
        (("data", "lits"), ('Did you mean "list"?',)),
        (("data", "fetch", "mnits"), ('Did you mean "mnist"?',)),
        (("data", "fetch"), ("name a data set",)),
        (("doctor", "--clear-cash"), ('Did you mean "--clear-cache"?',)),
        (("train", "toy", "--seed", "-1"), ("seed -1", "at least 0")),
        (("train", "toy", "--sample-every", "0"), ("sample-every 0", "at least 1")),
        (("train", "toy", "--max-minutes", "-2"), ("max-minutes -2", "at least 0")),
        (("train", "toy", "--config", "a", "--preset", "large"), ("--config and --preset",)),
        (("train", "vae", "--batch", "0"), ("batch 0", "at least 1")),
        (("train", "vae", "--lr", "nan"), ("lr nan", "at least 0")),
        (("train", "vae", "--network", "cnov"), ('"cnov"', 'Did you mean "conv"?')),
        (("train", "dcgan", "--beta1", "1"), ("beta1 1.0", "less than 1")),
        (("train", "dcgan", "--size", "30"), ("size 30", "multiple of 4")),
        (("train", "image-gpt", "--n-heads", "3"), ("n-heads 3", "divide the width, 64")),
        (("sample", "run", "--columns", "0"), ("columns 0", "at least 1")),
        (("sample", "run", "--scale", "0"), ("scale 0", "at least 1")),
        (("eval", "run", "--seed", "-1"), ("seed -1", "at least 0")),
    ],
)
def test_wrong_words_exit_2_with_a_suggestion(minigen, words, parts):
    refused(minigen(*words), 2, *parts)


def test_the_list_of_data_is_a_table(minigen, monkeypatch, tmp_path):
    folder = tmp_path / "a folder with quite a long name" / "mnist"
    folder.mkdir(parents=True)
    for split in ("train", "t10k"):
        for what in ("images-idx3", "labels-idx1"):
            (folder / f"{split}-{what}-ubyte").write_bytes(b"")
    monkeypatch.setenv("MINIGEN_DATA", str(folder.parent))
    code, said, _ = minigen("data", "list")
    rows = said.partition("\n\n")[0].splitlines()
    assert code == 0 and len(rows) == 7 and str(folder) in said and "not here" in said
    marks = ("drawn", "handwritten", "articles", "cursive", "photographs", "MNIST in black")
    starts = {min(row.find(mark) for mark in marks if mark in row) for row in rows}
    assert len(starts) == 1  # every description begins in the same column


def test_cuda_without_a_gpu_names_the_install_line(minigen, monkeypatch):
    monkeypatch.setattr(environment.shutil, "which", lambda name: None)
    refused(minigen("train", "toy", "--device", "cuda"), 1, "nvidia-smi", "pip install 'minigen[")
    monkeypatch.setattr(environment.shutil, "which", lambda name: "/usr/bin/nvidia-smi")
    monkeypatch.setattr(environment, "_output", lambda *c: "CUDA Version: 12.4")
    monkeypatch.setattr(environment.importlib.util, "find_spec", lambda name: None)
    refused(minigen("train", "toy", "--device", "cuda"), 1, "pip install 'minigen[cuda12]'")


@pytest.mark.parametrize("device", ["cpu", "auto"])
def test_tensor_cores_are_refused_on_the_cpu_before_anything_is_written(
    minigen, toy, monkeypatch, device
):
    monkeypatch.setattr(environment.shutil, "which", lambda name: None)
    said = "--precision bf16", "--precision float32", "--device cuda"
    refused(toy("--precision", "bf16", "--device", device, "--out", "run"), 2, *said)
    refused(toy("--precision", "bf16", "--device", device, "--dry-run"), 2, *said)
    assert not Path("run").exists()
    refused(minigen("train", "toy", "--precision", "half"), 2, "--precision", "bf16")
    assert toy("--out", "run", "--steps", 3)[0] == 0
    refused(minigen("sample", "run", "--precision", "tf32", "--device", device), 2, "float32")


def test_a_run_keeps_its_precision(minigen, toy, monkeypatch):
    """In force while it trains and samples, in its files, in what goes on from it."""
    seen = []
    module, train_toy = sys.modules["toy_model"], sys.modules["toy_model"].train

    def train(*arguments):
        seen.append(minigen_kernels.setting().precision)
        return train_toy(*arguments)

    monkeypatch.setattr(module, "train", train)
    for command in ("train", "sample"):  # the toy multiplies no matrices
        there = importlib.import_module(f"minigen.commands.{command}")
        monkeypatch.setattr(there, "check_precision", lambda *given: None)
    assert toy("--precision", "bf16", "--out", "run", "--steps", 3)[0] == 0
    assert training.read_config(Path("run"))["run"]["precision"] == "bf16"
    assert json.loads(Path("run/env.json").read_text())["starts"][0]["precision"] == "bf16"
    assert minigen("train", "toy", "--resume", "run", "--steps", 5)[0] == 0
    assert minigen("train", "toy", "--config", "run/config.toml", "--out", "two")[0] == 0
    assert toy("--precision", "tf32", "--dry-run")[0] == 0
    resumed = minigen("train", "toy", "--resume", "run", "--steps", 6, "--precision", "float32")
    assert resumed[0] == 0 and "precision bf16 → float32" in resumed[1] + resumed[2]
    assert seen == ["bf16", "bf16", "bf16", "tf32", "float32"]
    assert minigen_kernels.setting().precision == "float32"


# ---- a run


def test_a_run_can_be_trained_sampled_and_evaluated(minigen, toy):
    code, said, progress = toy("--lr", 0.2, "--out", "my rün")
    assert code == 0, progress
    run = Path("my rün")
    assert f"run: {run}" in said and "000010.png" in said
    assert "step 10/10" in progress and "images/s" in progress and "parameters" in progress
    stored = training.read_config(run)
    assert stored["config"]["lr"] == 0.2 and stored["data_options"]["image_size"] == 8
    assert stored["config"]["betas"] == [0.5, 0.9] and stored["model"] == "toy"
    assert "--lr 0.2" in (run / "cmd.txt").read_text()
    start = json.loads((run / "env.json").read_text())["starts"][0]
    assert {"minigen", "numpy", "numba", "cpu", "threads", "vector_bits"} <= set(start)
    assert json.loads((run / "result.json").read_text())["brightness"] < 1

    code, said, _ = minigen("sample", run, "--n", 9, "--out", "grid.png")
    assert code == 0 and said.strip() == "grid.png"
    first = Path("grid.png").read_bytes()
    assert minigen("sample", run, "--n", 9)[0] == 0
    assert (run / "samples-0.png").read_bytes() == first
    minigen("sample", run, "--n", 9, "--seed", 1, "--out", "grid.png")
    assert Path("grid.png").read_bytes() != first

    code, said, _ = minigen("eval", run, "--json")
    assert code == 0 and json.loads(said) == json.loads((run / "eval.json").read_text())
    assert 0 < json.loads(said)["error"] < 1


def test_runs_get_directories_of_their_own(toy, pictures):
    for _ in range(2):
        assert toy("--steps", 2)[0] == 0
    folder = "toy-" + pictures.name.lower().replace("_", "-")
    assert len(list(Path("runs", folder).iterdir())) == 2


def test_a_stopped_run_resumed_equals_the_unbroken_one(toy):
    assert toy("--out", "one")[0] == 0
    code, said, progress = toy("--out", "two", "--max-minutes", 0)
    assert code == 0 and 'train toy --resume "two"' in progress
    assert len(metrics(Path("two"))) == 1
    assert toy("--out", "two", "--resume")[0] == 0
    assert metrics(Path("one")) == metrics(Path("two"))
    ends = [checkpoint.load(Path(run, "ckpt/last.safetensors")) for run in ("one", "two")]
    assert ends[0].state["model"]["mean"].tobytes() == ends[1].state["model"]["mean"].tobytes()
    assert ends[0].state["rng"] == ends[1].state["rng"]
    for name in ("samples/000010.png", "samples.gif"):
        assert Path("one", name).read_bytes() == Path("two", name).read_bytes()


def test_resume_needs_nothing_but_the_directory(minigen, toy):
    toy("--out", "run", "--max-minutes", 0, "--lr", 0.3, "--seed", 5)
    code, _, said = minigen("train", "toy", "--resume", "run")
    assert code == 0, said
    stored = training.read_config(Path("run"))
    assert stored["seed"] == 5 and stored["config"]["lr"] == 0.3 and len(metrics(Path("run"))) == 10
    assert len((Path("run") / "cmd.txt").read_text().splitlines()) == 2


def test_a_preset_may_be_repeated_when_resuming_but_not_changed(toy):
    words = ("--preset", "large", "--steps", 6, "--out", "run")
    assert toy(*words, "--max-minutes", 0)[0] == 0
    assert toy(*words, "--resume")[0] == 0 and len(metrics(Path("run"))) == 6
    refused(toy("--preset", "small", "--out", "run", "--resume"), 2, "--preset small", "was large")
    refused(toy("--config", "run", "--out", "run", "--resume"), 2, "--config", "was not given")


def test_a_run_ended_before_its_first_checkpoint_begins_again(minigen, toy):
    toy("--out", "one")
    toy("--out", "two")
    for file in Path("two/ckpt").iterdir():
        file.unlink()
    code, _, said = minigen("train", "toy", "--resume", "two")
    assert code == 0 and "begins again" in said
    assert metrics(Path("one")) == metrics(Path("two"))


def test_a_folder_of_the_name_of_a_set_is_not_the_set(minigen):
    Path("mnist").mkdir()
    assert plan.full_name("mnist") == "mnist" and plan.slug("vae", "MNIST") == "vae-mnist"
    assert plan.full_name("MNIST") == "mnist" and plan.full_name("Fashion_MNIST") == "fashion-mnist"
    assert plan.full_name("./mnist") == str(Path("mnist").resolve())


def test_pictures_that_changed_are_noticed_when_resuming(minigen, toy, pictures, tmp_path):
    from PIL import Image

    folder = tmp_path / "pictures"
    folder.mkdir()
    for picture in pictures.iterdir():
        (folder / picture.name).write_bytes(picture.read_bytes())
    toy("--data", folder, "--out", "run", "--max-minutes", 0)
    Image.new("L", (8, 8), 77).save(folder / "3.png")
    code, _, said = minigen("train", "toy", "--resume", "run")
    assert code == 0 and "warning: not as when this run was saved: data " in said


def test_a_checkpoint_may_be_named_from_its_own_folder(minigen, toy, monkeypatch):
    toy("--out", "run", "--steps", 3)
    monkeypatch.chdir("run/ckpt")
    assert minigen("sample", "last.safetensors", "--n", 2)[0] == 0
    assert Path("../samples-0.png").exists()


def test_images_that_do_not_fit_are_refused_before_anything_is_made(minigen, toy, pictures):
    refused(toy("--size", 9, "--out", "run"), 2, "does not fit")
    assert not Path("run").exists()
    for name in ("vae", "dcgan", "image-gpt"):
        words = ("--data", pictures, "--image-size", 8, "--colour", "grey", "--channels", 3)
        refused(minigen("train", name, *words), 2, "1×8×8", "channels 3", "--colour")
    assert not Path("runs").exists()
    assert toy("--out", "run", "--steps", 2)[0] == 0
    refused(minigen("eval", "run", "--data", "shapes"), 2, "does not fit")
    code, said, _ = minigen("eval", "run", "--data", pictures, "--split", "train", "--json")
    assert code == 0 and json.loads(said)["images"] == 11  # read as the run read them


def test_resume_auto_takes_the_latest_run_or_begins_one(toy):
    assert toy("--resume", "--max-minutes", 0)[0] == 0
    assert toy("--resume", "auto")[0] == 0
    (run,) = next(iter(Path("runs").iterdir())).iterdir()
    assert len(metrics(run)) == 10


def test_resume_auto_without_data_takes_the_latest_run_of_the_model(minigen, toy):
    assert toy("--max-minutes", 0)[0] == 0
    code, said, _ = minigen("train", "toy", "--resume", "auto")
    assert code == 0 and "a new one begins" not in said
    (run,) = next(iter(Path("runs").iterdir())).iterdir()
    assert len(metrics(run)) == 10


def test_resume_auto_says_when_there_is_nothing_to_go_on_with(toy):
    code, said, error = toy("--resume", "auto")
    assert code == 0 and "no run of toy to go on with: a new one begins" in said + error


def test_a_run_killed_before_its_books_were_closed_closes_them_when_resumed(minigen, toy):
    toy("--out", "run")
    run = Path("run")
    before = {name: (run / name).read_bytes() for name in ("samples.gif", "result.json")}
    for name in before:
        (run / name).unlink()
    assert minigen("train", "toy", "--resume", "run")[0] == 0
    assert (run / "samples.gif").read_bytes() == before["samples.gif"]
    assert json.loads((run / "result.json").read_text())["finished"]


def test_a_checkpoint_without_its_run_is_told_from_a_bad_one(minigen, toy):
    toy("--out", "run")
    Path("away").mkdir()
    shutil.copy("run/ckpt/last.safetensors", "away/last.safetensors")
    shutil.copy("run/ckpt/last.safetensors", "last.safetensors")
    for name in ("away/last.safetensors", "last.safetensors"):
        refused(minigen("train", "toy", "--resume", name), 1, f"{name} does not lie in a run")


def test_resume_refuses_what_would_make_it_another_run(minigen, toy):
    toy("--out", "run", "--max-minutes", 0)
    refused(minigen("train", "toy", "--resume", "run", "--lr", 0.7), 1, "lr = 0.1 (now 0.7)")
    refused(minigen("train", "toy", "--resume", "run", "--seed", 7), 2, "--seed 7", "it was 0")
    refused(minigen("train", "vae", "--resume", "run"), 2, "a run of toy, not of vae")
    refused(minigen("train", "toy", "--resume", "nowhere"), 1, "nowhere")
    assert checkpoint.load(Path("run/ckpt/last.safetensors")).step == 1


def test_more_steps(minigen, toy):
    toy("--out", "run", "--steps", 4)
    assert minigen("train", "toy", "--resume", "run", "--steps", 6)[0] == 0
    assert [row["step"] for row in metrics(Path("run"))] == [1, 2, 3, 4, 5, 6]
    assert training.read_config(Path("run"))["config"]["steps"] == 6


def test_config_begins_a_new_run_with_the_options_of_another(minigen, toy):
    toy("--out", "one", "--lr", 0.3, "--steps", 3)
    assert minigen("train", "toy", "--config", "one/config.toml", "--out", "two")[0] == 0
    assert metrics(Path("one")) == metrics(Path("two"))
    code = minigen("train", "toy", "--config", "one", "--out", "three", "--lr", 0.1)[0]
    assert code == 0 and training.read_config(Path("three"))["config"]["steps"] == 3
    assert metrics(Path("one")) != metrics(Path("three"))
    text = Path("one/config.toml").read_text()
    Path("typo.toml").write_text(text.replace("lr = ", "rl = "))
    refused(minigen("train", "toy", "--config", "typo.toml"), 1, '"rl"', 'Did you mean "lr"?')
    Path("broken.toml").write_text(text + "=")
    refused(minigen("train", "toy", "--config", "broken.toml"), 1, "cannot read", "broken.toml")
    Path("typo.toml").write_text(text.replace("sample_every", "sampel_every"))
    said = ('[run] has "sampel_every"', 'Did you mean "sample_every"?')
    refused(minigen("train", "toy", "--config", "typo.toml"), 1, *said)
    Path("typo.toml").write_text(text.replace("lr = 0.3", 'lr = "fast"'))
    refused(minigen("train", "toy", "--config", "typo.toml"), 1, "lr = 'fast'", "float is needed")
    Path("half.toml").write_text(text.partition("[config]")[0])
    refused(minigen("train", "toy", "--config", "half.toml"), 1, "half.toml lacks config")


def test_dry_run_tells_the_cost_and_writes_nothing(toy):
    code, said, _ = toy("--dry-run", "--out", "run")
    assert code == 0 and "ms" in said and not Path("run").exists()
    losses = [toy("--dry-run", "--steps", n)[1].partition("after 2 steps ")[2] for n in (1, 2)]
    assert losses[0] == losses[1] != ""  # two steps are taken even where one is asked for


def test_check_takes_names_and_options_in_any_order(minigen, monkeypatch):
    asked = []
    original = testing.run_checks

    def fake(names, profile=None, device="cpu"):
        if names not in (["conv2d"], ["vae"]):
            return original(names, profile)
        asked.append((*names, profile))
        assert device == "cpu"
        return [testing.Row(names[0], 3, 1e-9, "ok", 0.1)]

    monkeypatch.setattr(testing, "run_checks", fake, raising=False)
    code, said, _ = minigen("check", "conv2d", "--profile", "ci", "vae")
    assert code == 0 and asked == [("conv2d", "ci"), ("vae", "ci")] and "2 of 2 ok" in said
    code, said, _ = minigen("check", "--device", "cpu", "conv2d")
    assert code == 0 and asked.pop() == ("conv2d", "dev")
    refused(minigen("check", "vae", "conv2"), 2, "'conv2'", 'Did you mean "conv2d"?')
    assert len(asked) == 2  # nothing is checked when a name is wrong


def test_quiet_says_nothing_and_json_is_json(toy):
    assert toy("--quiet", "--out", "a") == (0, "", "")
    code, said, _ = toy("--json", "--out", "b")
    events = [json.loads(line) for line in said.splitlines()]
    assert code == 0 and events[-1]["event"] == "end" and events[-1]["step"] == 10
    assert {"start", "step", "sample", "checkpoint", "end"} <= {e["event"] for e in events}


# ---- what goes wrong on the way


def test_nan_in_the_loss(toy):
    refused(toy("--fail", "nan", "--out", "run"), 1, "loss is nan at step 5", "--anomaly")
    assert checkpoint.load(checkpoint.find(Path("run"))).step == 4
    assert "loss is nan" in Path("run/log.txt").read_text()


def test_a_bug_is_one_line_unless_debug(toy):
    refused(toy("--fail", "bug", "--out", "run"), 1, "ZeroDivisionError", "--debug")
    with pytest.raises(ZeroDivisionError):
        toy("--fail", "bug", "--out", "again", "--debug")


def test_a_folder_in_use_is_not_overwritten(toy):
    Path("run").mkdir()
    Path("run/thesis.txt").write_text("precious")
    refused(toy("--out", "run"), 1, "not empty", "--resume")
    assert [path.name for path in Path("run").iterdir()] == ["thesis.txt"]
    assert Path("run/thesis.txt").read_text() == "precious"


def test_damaged_and_foreign_checkpoints(minigen, toy):
    toy("--out", "run", "--steps", 4)
    last = Path("run/ckpt/last.safetensors")
    whole = last.read_bytes()
    last.write_bytes(whole[:-5])
    earlier = str(Path("run/ckpt/step-000003.safetensors"))
    for words in (("sample", "run"), ("eval", "run"), ("train", "toy", "--resume", "run")):
        refused(minigen(*words), 1, "cut short", "step 3 is whole", f'--resume "{earlier}"')
    assert minigen("train", "toy", "--resume", earlier)[0] == 0
    assert checkpoint.load(last).step == 4 and last.read_bytes() != whole[:-5]
    assert len(metrics(Path("run"))) == 4
    refused(minigen("sample", "nowhere"), 1, "no run directory")


def test_a_read_only_folder(toy, monkeypatch):
    def mkdir(path, *words, **options):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(Path, "mkdir", mkdir)
    refused(toy("--out", "locked/run"), 1, "Permission denied", "--out")
    refused(toy(), 1, "Permission denied", "--out")


def test_a_disk_that_fills_up_on_the_way(minigen, toy, monkeypatch):
    toy("--out", "run", "--max-minutes", 0)
    earlier = Path("run/ckpt/last.safetensors").read_bytes()

    def full(path, data):
        if path.suffix == ".safetensors":
            raise OutputError("no room") from OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write_atomically(path, data)

    monkeypatch.setattr(checkpoint, "write_atomically", full)
    said = "No space left on device; the checkpoint of step 1 is intact"
    refused(minigen("train", "toy", "--resume", "run"), 1, said, "--resume")
    assert Path("run/ckpt/last.safetensors").read_bytes() == earlier


def test_numbers_are_shown_even_where_they_cannot_be_stored(minigen, toy, monkeypatch):
    from minigen.commands import eval as command

    toy("--out", "run", "--steps", 2)

    def refuse(path, data):
        raise OutputError(f"cannot write {path}: Read-only file system")

    monkeypatch.setattr(command, "write_atomically", refuse)
    result = minigen("eval", "run")
    refused(result, 1, "Read-only")
    assert result[1].startswith("error ")


def test_a_gif_that_cannot_be_written_does_not_hide_how_to_go_on(toy, monkeypatch):
    def refuse(frames, path):
        raise OutputError("cannot write samples.gif: No space left on device")

    monkeypatch.setattr(images, "save_gif", refuse)
    code, _, said = toy("--out", "run", "--max-minutes", 0, "--sample-every", 1)
    assert code == 0 and "warning: cannot write samples.gif" in said
    assert 'train toy --resume "run"' in said


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGTERM to send")
def test_a_termination_lost_in_a_callback_ends_the_command_at_its_next_line(minigen, monkeypatch):
    """Python only reports what is raised inside a callback of the garbage collector."""
    from minigen.commands import doctor

    def command(argv):
        with contextlib.suppress(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(5)
        cli.out("one more line")
        return 0

    monkeypatch.setattr(doctor, "main", command)
    code, said, error = minigen("doctor")
    assert code == 130 and "one more line" not in said and "interrupted" in error
    assert minigen("--version")[0] == 0


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGTERM to send")
def test_a_signal_before_the_first_step_or_after_the_last(toy, monkeypatch):
    from minigen.commands import train

    def terminated(*words):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(10)

    with monkeypatch.context() as patch:
        patch.setattr(train, "_to_store", terminated)
        code, _, said = toy("--out", "early")
    assert code == 130 and "nothing was saved" in said
    with monkeypatch.context() as patch:
        patch.setattr(train, "_say_where", terminated)
        code, _, said = toy("--out", "late", "--steps", 3)
    assert code == 130 and "step 3 is kept" in said and '--resume "late"' in said
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_an_out_that_cannot_be_made(toy):
    Path("file").write_text("")
    refused(toy("--out", "file/run"), 1, "cannot make a run directory", "--out")


# ---- as a process


def process(*words: object, cwd: Path, **options) -> subprocess.CompletedProcess:
    root = HERE.parents[1]
    paths = [str(root), str(root / "kernels"), os.environ.get("PYTHONPATH", "")]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), **options.pop("env", {})}
    command = [sys.executable, *map(str, words)]
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, timeout=300, **options)


def test_version_is_quick_and_compiles_nothing(tmp_path):
    program = (
        "import sys; from minigen.cli import main; main(['--version']);"
        "heavy = {'numba', 'tyro', 'rich', 'PIL', 'hypothesis'} & set(sys.modules);"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    done = process("-c", program, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_the_module_is_the_command_and_home_may_be_read_only(tmp_path):
    env = {"HOME": "/nonexistent", "XDG_CACHE_HOME": "/nonexistent/cache"}
    done = process("-m", "minigen", "data", "list", cwd=tmp_path, env=env)
    assert done.returncode == 0 and b"mnist" in done.stdout, done.stderr


@pytest.mark.skipif(os.name == "nt", reason="shell syntax of Unix")
def test_a_reader_that_leaves_ends_it_quietly(tmp_path):
    command = f'"{sys.executable}" -m minigen data list | true'
    root = HERE.parents[1]
    paths = os.pathsep.join([str(root), str(root / "kernels")])
    done = subprocess.run(
        ["sh", "-c", command],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        timeout=300,
    )
    assert done.stderr == b""
