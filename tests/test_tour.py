"The tour: resumable, honest about its folder, and never more than a line of complaint."
import dataclasses
import errno
import html
import html.parser
import json
import math
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from minillm import cli, sft, tour, train
from minillm.checkpoints import latest_checkpoint
from minillm.shards import file_sha256
from minillm.tour import STAGES, TourConfig, is_done, run_tour

WORDS = "value name file list item string number function module object error first last path line key index".split()
RANDOM = random.Random(7)
TEXT = "".join(f"def {RANDOM.choice(WORDS)}_{i}({RANDOM.choice(WORDS)}):\n    the {' of the '.join(RANDOM.choices(WORDS, k=9))}\n\n" for i in range(600))


@pytest.fixture(scope="module", autouse=True)
def known_speed():
    "Four seconds of measuring, twice a run, are saved: what a step costs is not asked here."
    with pytest.MonkeyPatch.context() as m:
        for module in (train, sft): m.setattr(module, "seconds_per_step", lambda *_: 0.03)
        yield


@pytest.fixture
def corpus(tmp_path):
    path = tmp_path / "corpus.txt"
    path.write_text(TEXT, encoding="utf-8")
    return path


def config(tmp_path, corpus, **changes):
    return TourConfig(**dict(out=tmp_path / "run", corpus=str(corpus), vocab_size=300, minutes=0.01) | changes)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    "One run that is done; tests work on copies of it."
    folder = tmp_path_factory.mktemp("tour")
    (folder / "corpus.txt").write_text(TEXT, encoding="utf-8")
    run_tour(config(folder, folder / "corpus.txt"))
    return folder


@pytest.fixture
def done(finished, tmp_path):
    "The configuration of a run that is done, its folder a copy."
    shutil.copytree(finished / "run", tmp_path / "run")
    return config(tmp_path, finished / "corpus.txt")


def digest(folder):
    return {p.relative_to(folder).as_posix(): file_sha256(p) for p in sorted(folder.rglob("*")) if p.is_file()}


def test_end_to_end(done):
    "From a text file to a report whose numbers are the ones in the files, without a single outside link."
    text = (done.out / "report.html").read_text(encoding="utf-8")
    samples = json.loads((done.out / "samples/samples.json").read_text(encoding="utf-8"))
    assert f"{samples['bits_per_byte']['this model']:.3f}" in text and "<svg" in text
    meta = json.loads((done.out / "tokens/meta.json").read_text(encoding="utf-8"))
    nats_a_byte = samples["val_loss"] * meta["tokens"]["val"] / meta["bytes"]["val"]
    assert math.isclose(samples["bits_per_byte"]["this model"], nats_a_byte / math.log(2))
    assert all(f"{n:,}" in text for n in (meta["tokens"]["train"], meta["vocab_size"])) and "found" in text
    assert "http" not in text.replace('xmlns="http://www.w3.org/2000/svg"', "") and "src=" not in text
    html.parser.HTMLParser().feed(text)
    assert all(is_done(done.out, stage) for stage in STAGES)
    told = json.loads((done.out / "answers/answers.json").read_text(encoding="utf-8"))
    assert len(told["questions"]) > 3 and all(len(said) == len(told["questions"]) for said in told["answers"].values())
    assert all(html.escape(q["messages"][0]["content"]) in text for q in told["questions"])


def test_the_lessons_never_come_from_the_modules_of_the_questions(done):
    "Conversations and pairs are of train and val, the questions of test, and no name is in both."
    rows = [json.loads(line) for name in ("conversations", "pairs") for line in (done.out / f"lessons/{name}.jsonl").read_text(encoding="utf-8").splitlines()]
    questions = json.loads((done.out / "lessons/questions.json").read_text(encoding="utf-8"))
    assert {row["split"] for row in rows} == {"train", "val"} and len({q["kind"] for q in questions}) == len(questions)
    words = " ".join(q["messages"][0]["content"] for q in questions)
    assert not [row["about"] for row in rows if row["about"] in words.split()]


def test_lessons_that_were_stopped_end_as_those_that_were_not(done, monkeypatch):
    "Ctrl-C in the middle of the conversations: the same command ends with the same weights."
    wanted = {name: file_sha256(done.out / name / "model.safetensors") for name in ("sft", "dpo")}
    plan = (done.out / "sft/training/plan.json").read_bytes()
    shutil.rmtree(done.out / "sft")
    shutil.rmtree(done.out / "dpo")
    (done.out / "sft/training").mkdir(parents=True)
    (done.out / "sft/training/plan.json").write_bytes(plan)
    with monkeypatch.context() as m:
        at_step(m, 5, lambda _: signal.raise_signal(signal.SIGINT))
        with pytest.raises(KeyboardInterrupt, match="stopped after step 5 of"): run_tour(done)
    run_tour(done)
    assert wanted == {name: file_sha256(done.out / name / "model.safetensors") for name in ("sft", "dpo")}


def test_second_run_does_nothing(done, capsys):
    "A run that is done is skipped stage by stage, and no file changes."
    before = digest(done.out)
    run_tour(done)
    assert digest(done.out) == before and capsys.readouterr().out.count("done before") == len(STAGES)


def test_damage_is_repaired(done, capsys):
    "A changed or missing output makes its stage run again, and only what depends on it."
    cfg = done
    before = file_sha256(cfg.out / "base/model.safetensors")
    (cfg.out / "tokens/val.bin").write_bytes(b"spoiled")
    (cfg.out / "report.html").unlink()
    run_tour(cfg)
    assert [line for line in capsys.readouterr().out.splitlines() if "done before" not in line] == ["4/11 tokens", "11/11 report"]
    assert file_sha256(cfg.out / "base/model.safetensors") == before


def at_step(monkeypatch, step, then):
    "Do something to the model just before that step of the training."
    real = train._advance
    def advance(at, model, *more):
        if at["step"] + 1 == step: then(model)
        return real(at, model, *more)
    monkeypatch.setattr(train, "_advance", advance)


def plan_of(source, target):
    "The second folder shall train exactly as long as the first one."
    (target / "base/training").mkdir(parents=True)
    shutil.copyfile(source / "base/training/plan.json", target / "base/training/plan.json")


def test_interrupted_run_ends_as_the_uninterrupted_one(tmp_path, done, monkeypatch):
    "Ctrl-C, then the same command: the weights, the curve and the samples are those of a run that was left alone."
    alone, cfg = done, dataclasses.replace(done, out=tmp_path / "interrupted")
    plan_of(alone.out, cfg.out)
    with monkeypatch.context() as m:
        at_step(m, 7, lambda _: signal.raise_signal(signal.SIGINT))
        with pytest.raises(KeyboardInterrupt, match="stopped after step 7 of"): run_tour(cfg)
    assert latest_checkpoint(cfg.out / "base/training/checkpoints").name.endswith("07") and not (cfg.out / "base/model.safetensors").exists()
    run_tour(cfg)
    for file in ("base/model.safetensors", "base/training/result.json", "base/training/log.jsonl", "samples/samples.json"):
        assert file_sha256(cfg.out / file) == file_sha256(alone.out / file), file


def test_plan_is_made_once(done, monkeypatch):
    "A resumed run reads plan.json and never measures again; seconds live in timing.json alone."
    cfg = done
    path = cfg.out / "base/training/plan.json"
    plan = path.read_text(encoding="utf-8")
    monkeypatch.setattr(train, "seconds_per_step", lambda *_: pytest.fail("measured again"))
    (cfg.out / "base/model.safetensors").unlink()
    run_tour(cfg)
    assert path.read_text(encoding="utf-8") == plan and set(json.loads(plan)) == {"max_steps", "eval_every"}
    assert set(json.loads((cfg.out / "timing.json").read_text(encoding="utf-8"))) == {s.name for s in STAGES}


def test_folder_of_another_configuration(done):
    "A folder written by another configuration is refused with both values named, and stays untouched."
    before = digest(done.out)
    with pytest.raises(ValueError, match=r"another configuration \(seed 1337 -> 1\); choose another --out"):
        run_tour(dataclasses.replace(done, seed=1))
    source = Path(done.corpus)
    source.write_text(TEXT + "one more line", encoding="utf-8")
    try:
        with pytest.raises(ValueError, match="fingerprint"): run_tour(done)
    finally: source.write_text(TEXT, encoding="utf-8")
    assert digest(done.out) == before


def test_nan_names_the_step_and_keeps_the_checkpoint(tmp_path, corpus, monkeypatch):
    "A loss that is no number names its step; the last good checkpoint stays loadable, and the same command goes on from it."
    cfg = config(tmp_path, corpus)
    with monkeypatch.context() as m:
        at_step(m, 15, lambda model: model.embed.weight.data.fill_(math.nan))
        with pytest.raises(ValueError, match="loss is nan at step 15 .*the good checkpoint step-0*10 is kept; try a smaller --lr"): run_tour(cfg)
    assert latest_checkpoint(cfg.out / "base/training/checkpoints").name.endswith("10") and run_tour(cfg).exists()


def test_other_tokens(done):
    "A model is not trained on with other tokens than it began with."
    meta = json.loads((done.out / "tokens/meta.json").read_text(encoding="utf-8"))
    meta["sha256"]["train"] = "0" * 64
    (done.out / "tokens/meta.json").write_text(json.dumps(meta), encoding="utf-8")
    with pytest.raises(ValueError, match="was begun with other settings .data.sha256.train"): tour.train_model(done)


@pytest.mark.parametrize("file,content", [
    ("config.json", "[]"), ("config.json", ""), ("config.json", '{"a": '), ("base/training/plan.json", "{}"), ("base/training/plan.json", '{"max_steps": "a", "eval_every": 1}'),
    ("base/training/settings.json", "["), ("base/training/result.json", "{"), ("base/training/log.jsonl", "no"), ("base/config.json", ""),
    ("timing.json", "[]"), ("samples/samples.json", "[]"), ("corpus/stage.json", "[]"), ("documents/documents.json", "{"),
    ("tokenizer/tokenizer.json", "{}"), ("tokenizer/report.json", "["), ("tokens/meta.json", "{}"), ("corpus/report.json", ""), ("corpus/train-00000.parquet", "no"), ("base/stage.json", "{}"), ("report.html", ""),
    ("lessons/questions.json", "{}"), ("lessons/pairs.jsonl", "no"), ("sft/training/plan.json", "{}"), ("sft/config.json", ""), ("dpo/training/result.json", "["), ("answers/answers.json", "[]")])
def test_damaged_files(done, file, content, capsys):
    "A damaged file in the run folder is mended, or named in one line; never a traceback."
    (done.out / file).write_text(content, encoding="utf-8")
    (done.out / "report.html").unlink()
    code = cli.main(["tour", "--out", str(done.out), "--corpus", done.corpus, "--vocab-size", "300", "--minutes", str(done.minutes)])
    error = capsys.readouterr().err.replace("\r", "\n").splitlines()[-1:]
    assert code == 0 or (code == 2 and "delete" in error[0] and file.split("/")[-1] in error[0]), error


def test_two_runs_in_one_folder(done):
    "A second run in the same folder is refused while the first one is there, and works after."
    with tour.locked(done.out), pytest.raises(ValueError, match="another run is using"): run_tour(done)
    assert run_tour(done).exists()


def test_no_space_before(tmp_path, corpus, monkeypatch):
    "Too little free space is seen before anything is written."
    monkeypatch.setattr(tour.shutil, "disk_usage", lambda _: type("usage", (), {"free": 1_000_000}))
    with pytest.raises(ValueError, match="needs about .* MB and 1 MB are free; free some space"): run_tour(config(tmp_path, corpus))
    assert not (tmp_path / "run").exists()


def test_space_already_taken_by_this_run_counts(done, monkeypatch):
    "A run that is nearly done is not refused for the space that it has already taken."
    stored = sum(p.stat().st_size for p in done.out.rglob("*") if p.is_file())
    monkeypatch.setattr(tour.shutil, "disk_usage", lambda _: type("usage", (), {"free": 40_000_000 - stored}))
    assert run_tour(done).exists()
    monkeypatch.setattr(tour.shutil, "disk_usage", lambda _: type("usage", (), {"free": 1_000_000 - stored}))
    with pytest.raises(ValueError, match="free some space"): tour.check_space(done)


def test_no_space_during(tmp_path, corpus, monkeypatch):
    "A disk that fills up while training ends in one line; what was complete is kept, and the same command goes on."
    cfg, real = config(tmp_path, corpus), train.write_checkpoint
    def full(folder, step, *args, **more):
        if step >= 20: raise OSError(errno.ENOSPC, "No space left on device")
        return real(folder, step, *args, **more)
    with monkeypatch.context() as m:
        m.setattr(train, "write_checkpoint", full)
        with pytest.raises(OSError, match="during stage train; what was complete is kept: free some space"): run_tour(cfg)
    assert run_tour(cfg).exists()


@pytest.mark.parametrize("content,words", [
    (None, "is no file, folder or pattern"), (b"", "has 0 characters; a model needs at least 10,000"),
    (bytes(range(256)) * 80, "has 0 characters; a model needs"), ("folder", "has 0 characters; a model needs")])
def test_bad_corpus(tmp_path, content, words, capsys):
    "An unreadable or empty corpus is one line and exit code 2, and no run folder appears."
    path = tmp_path / "c.txt"
    if content == "folder": path.mkdir()
    elif content is not None: path.write_bytes(content)
    assert cli.main(["tour", "--out", str(tmp_path / "run"), "--corpus", str(path)]) == 2
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1 and not (tmp_path / "run").exists()


@pytest.mark.parametrize("change,words", [(dict(minutes=0), "minutes (0) must lie between 0 and 100,000"), (dict(preset="giant"), "try one of tiny"),
                                          (dict(lr=2), "lr (2) must lie between 0 and 1"), (dict(vocab_size=100), "vocab_size (100) must lie between 260 and"), (dict(micro_batch_size=0), "micro_batch_size (0) must lie between 1"),
                                          (dict(micro_batch_size=10**15), "between 1 and 65,536"), (dict(seed=-1), "seed (-1) must lie"), (dict(minutes=math.inf), "minutes (inf)")])
def test_bad_settings(change, words):
    "An impossible setting is refused by name before anything is touched."
    with pytest.raises(ValueError) as e: TourConfig(**change)
    assert words in str(e.value)


def test_out_is_a_file(tmp_path, corpus):
    "A run folder that is a file is one clear error."
    (tmp_path / "run").write_text("x", encoding="utf-8")
    with pytest.raises(ValueError, match="is a file; choose a folder"): run_tour(config(tmp_path, corpus))


@pytest.mark.posix
@pytest.mark.skipif(os.name != "posix", reason="signals as a terminal sends them")
def test_ctrl_c_in_a_terminal(tmp_path, corpus):
    "SIGINT to the running command: exit code 130, one line that says how to go on, and it does go on."
    command = [sys.executable, "-c", "from minillm.cli import main; raise SystemExit(main())",
               "tour", "--out", str(tmp_path / "run"), "--corpus", str(corpus), "--vocab-size", "300", "--minutes", "0.05"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    for _ in range(600):
        if latest_checkpoint(tmp_path / "run/base/training/checkpoints"): break
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130 and "the same command goes on from here" in error and "Traceback" not in error
    assert subprocess.run(command, capture_output=True, timeout=200).returncode == 0
    assert (tmp_path / "run/report.html").exists()


@pytest.mark.posix
@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
def test_kill_and_resume(tmp_path, corpus):
    "Killed without warning, twice, the run ends with the weights of one that was left alone."
    def start(out):
        return subprocess.Popen([sys.executable, "-c", "from minillm.cli import main; raise SystemExit(main())", "tour", "--out",
                                 str(tmp_path / out), "--corpus", str(corpus), "--vocab-size", "300", "--minutes", "0.3"], stderr=subprocess.DEVNULL)
    assert start("alone").wait(300) == 0
    plan_of(tmp_path / "alone", tmp_path / "killed")
    for seconds in (6, 9):
        process = start("killed")
        time.sleep(seconds)
        process.kill()
        process.wait()
    assert start("killed").wait(300) == 0
    assert file_sha256(tmp_path / "killed/base/model.safetensors") == file_sha256(tmp_path / "alone/base/model.safetensors")
