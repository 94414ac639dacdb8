"""What trained models reached, read from their run directories, never typed in.

For each run: results/NAME.json (command, environment, time, what `minigen eval` found) and
results/NAME.png (its last sample grid), NAME = model-data-side[-network]. Several runs of one name
are seeds of one measurement: their figures are averaged, and the first run's pictures are shown.
"""

from __future__ import annotations

import json
import shlex
import shutil
from collections import defaultdict
from pathlib import Path
from typing import Any

from .pages import put_between, table

HERE = Path(__file__).parent
README = HERE.parent / "README.md"
FIGURES = {  # of eval.json: how README writes each
    "test_loss": "test loss {:.2f} nats per image",
    "test_nats": "test NLL {:.2f} nats per image",
    "bits_per_pixel": "{:.3f} bits per pixel",
    "classes": "{:.0f} classes seen in 100 samples",
    "mean_top_probability": "mean top probability {:.3f}",
    "classifier_accuracy": "classifier right on {:.2%} of test images",
}


def read_run(run: Path) -> tuple[str, dict[str, Any]]:
    """The name and the facts of a finished and evaluated run."""
    from minigen.training.folder import read_config

    if not (run / "config.toml").is_file():
        raise SystemExit(f"{run} is not a run directory: give folders that minigen train made")
    stored, result = read_config(run), _json(run / "result.json")
    if not result["finished"]:
        raise SystemExit(f"{run} is not finished: minigen train {result['model']} --resume {run}")
    config = stored["config"]
    parts = [result["model"], result["data"], config["size"], config.get("network", "")]
    facts = {
        "seed": stored["seed"],
        "steps": result["steps"],
        "seconds": result["seconds"],
        "commands": _commands(run),
        "environment": _json(run / "env.json")["starts"],
        "eval": _json(run / "eval.json"),
    }
    return "-".join(str(part) for part in parts if part), facts


def _commands(run: Path) -> list[str]:
    """What was typed, with RUN for the run's folder: where it lay is nobody's business."""
    lines = (run / "cmd.txt").read_text(encoding="utf-8").splitlines()
    places = {str(run), str(run.resolve())}
    return [
        shlex.join("RUN" if word in places else word for word in shlex.split(line))
        for line in lines
    ]


def _json(path: Path) -> Any:
    if not path.is_file():
        remedy = f"minigen eval {path.parent}" if path.name == "eval.json" else "let it finish"
        raise SystemExit(f"{path} is missing: {remedy}")
    return json.loads(path.read_text(encoding="utf-8"))


def main(arguments: list[str]) -> int:
    """Write the results of the runs given, and README's table of all results."""
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for run in map(Path, arguments):
        name, facts = read_run(run)
        if not found[name]:
            picture = max((run / "samples").glob("*.png"))
            shutil.copyfile(picture, HERE / "results" / f"{name}.png")
        found[name].append(facts)
    for name, runs in found.items():
        path = HERE / "results" / f"{name}.json"
        path.write_text(json.dumps(runs, indent=1) + "\n", encoding="utf-8")
    put_between(README, "models", page())
    return 0


def page() -> str:
    """README's table and pictures, of every results/*.json."""
    rows, pictures = [], []
    for path in sorted((HERE / "results").glob("*.json")):
        runs = _json(path)
        if not isinstance(runs, list):  # a machine's speed, of another command
            continue
        command = _command(runs[0])
        seeds = ", ".join(str(r["seed"]) for r in runs)
        rows.append([f"`{command}`", seeds, _figures(runs)])
        pictures.append(f"![{path.stem}](benchmarks/results/{path.stem}.png)\n\n`{command}`")
    head = ["command", "seeds", "`minigen eval`"]
    return "\n\n".join([table(head, rows), *pictures])


def _command(run: dict[str, Any]) -> str:
    """The first command of a run, without what does not change its result."""
    words = shlex.split(run["commands"][0])
    for flag in ("--out", "--threads", "--seed"):
        if flag in words:
            at = words.index(flag)
            del words[at : at + 2]
    return shlex.join(words)


def _figures(runs: list[dict[str, Any]]) -> str:
    texts = []
    for name, form in FIGURES.items():
        values = [r["eval"][name] for r in runs if name in r["eval"]]
        if values:
            texts.append(form.format(sum(values) / len(values)))
    return "; ".join(texts)
