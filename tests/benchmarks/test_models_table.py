"""README's table of trained models: the facts of run directories, but not where they lay."""

from __future__ import annotations

import json

import pytest

from benchmarks import models


def made_run(folder, **result):
    """A run directory with what the table reads."""
    folder.mkdir()
    (folder / "config.toml").write_text(
        'model = "dcgan"\ndata = "glyphs"\nseed = 3\n[config]\nsize = 28\n', encoding="utf-8"
    )
    lines = f'minigen train dcgan --out "{folder}"\nminigen train dcgan --resume "{folder}"\n'
    (folder / "cmd.txt").write_text(lines, encoding="utf-8")
    facts = {"model": "dcgan", "data": "glyphs", "steps": 5, "seconds": 1.5, "finished": True}
    for name, content in (
        ("result", {**facts, **result}),
        ("env", {"starts": []}),
        ("eval", {"classes": 9}),
    ):
        (folder / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    return folder


def test_a_run_without_the_place_where_it_lay(tmp_path):
    name, facts = models.read_run(made_run(tmp_path / "a run"))
    assert name == "dcgan-glyphs-28" and facts["seed"] == 3 and facts["eval"] == {"classes": 9}
    assert facts["commands"] == [
        "minigen train dcgan --out RUN",
        "minigen train dcgan --resume RUN",
    ]
    assert str(tmp_path) not in json.dumps(facts)


def test_what_is_no_finished_run_is_refused_in_one_line(tmp_path):
    with pytest.raises(SystemExit, match="nosuch is not a run directory: give folders that"):
        models.read_run(tmp_path / "nosuch")
    unfinished = made_run(tmp_path / "run", finished=False)
    with pytest.raises(SystemExit, match="is not finished: minigen train dcgan --resume"):
        models.read_run(unfinished)
    (tmp_path / "other").mkdir()
    run = made_run(tmp_path / "other" / "run")
    (run / "eval.json").unlink()
    with pytest.raises(SystemExit, match="eval.json is missing: minigen eval"):
        models.read_run(run)
