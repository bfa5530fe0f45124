"tracking: logs that survive, trackers read back with their own tools, pictures, the watch."
import html.parser
import io
import json
import math
import os
import random
import signal
import sqlite3
import statistics
import struct
import subprocess
import sys
import types
import warnings
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
import torch

from minillm import tracking
from minillm.tracking import (MEASURED, TRACKERS, JsonlTracker, Line, LossWatch, Run, Trackers, cut_jsonl, dashboard, ema, line_chart,
                              make_trackers, read_jsonl, read_run, robust_z, summary, thin)

EMA = 1e-12  # against pandas; 3.1e-15 was seen
NASTY = "<script>alert('x')</script> & \"quoted\" á 語 \ud800 \0 \u2028"
CONFIG = {"optim": {"lr": 3e-3, "betas": [0.9, 0.95]}, "max_steps": 8, "text": "a<b"}


def values_at(step): return dict(train_loss=4/step + 0.1, lr=3e-3*step, grad_norm=1.5, tokens=64*step)


def write(folder, steps, names="", resume_step=None, **extra):
    with make_trackers(names, folder, CONFIG, resume_step) as trackers:
        for step in steps: trackers.log(step, **values_at(step), **extra)
    return folder


# ---- the log ---------------------------------------------------------------------------------------------------
def test_a_log_cut_at_any_byte_gives_whole_lines_only(tmp_path):
    "However much of a log is left, the reader returns a prefix of its rows and at most one damaged line."
    write(tmp_path / "run", range(1, 7))
    whole = (tmp_path / "run/log.jsonl").read_bytes()
    rows, none = read_jsonl(tmp_path / "run/log.jsonl")
    assert none == 0 and [r["step"] for r in rows] == list(range(1, 7))
    for n in range(len(whole)):
        (tmp_path / "cut.jsonl").write_bytes(whole[:n])
        some, damaged = read_jsonl(tmp_path / "cut.jsonl")
        assert some == rows[:len(some)] and damaged == (len(whole[:n].split(b"\n")[-1]) > 0 and len(some) <= whole[:n].count(b"\n"))


@pytest.mark.parametrize("line", [b"7", b"null", b"[1]", b'{"train_loss": 1}', b'{"step": true}', b'{"step": 1.0}', b"\xff\xfe", b"[" * 100_000, b'{"step": 1, "x": '])
def test_damaged_lines_are_counted_wherever_they_stand(tmp_path, line):
    "A line that is no row with an integer step is left out and counted, also in the middle; blank lines are not."
    (tmp_path / "log.jsonl").write_bytes(b'{"step": 1}\n\n' + line + b'\n{"step": 2}\n')
    assert read_jsonl(tmp_path / "log.jsonl") == ([{"step": 1}, {"step": 2}], 1)
    assert cut_jsonl(tmp_path / "log.jsonl", 1) == 1 and (tmp_path / "log.jsonl").read_bytes() == b'{"step": 1}\n'


def test_a_missing_log_is_told():
    "A log that does not exist is an error with its path."
    with pytest.raises(ValueError, match="nowhere.jsonl"): read_jsonl("nowhere.jsonl")
    with pytest.raises(ValueError, match="does not exist"): read_run(Path("nowhere"))


@pytest.mark.parametrize("killed, restored", [(6, 4), (6, 6), (8, 1), (3, 0), (5, None)])
@pytest.mark.parametrize("torn", [b"", b'{"step": 9, "trai'])
def test_a_resumed_log_is_the_uninterrupted_one(tmp_path, killed, restored, torn):
    "Killed anywhere, in the middle of a line or not, and resumed anywhere before: log.jsonl is equal byte for byte."
    write(tmp_path / "whole", range(1, 9))
    write(tmp_path / "parts", range(1, killed + 1))
    with open(tmp_path / "parts/log.jsonl", "ab") as f: f.write(torn)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        write(tmp_path / "parts", range((restored or 0) + 1, 9), resume_step=restored)
    assert (tmp_path / "parts/log.jsonl").read_bytes() == (tmp_path / "whole/log.jsonl").read_bytes()
    assert sum("1 damaged" in str(w.message) for w in told) == bool(torn)
    assert [r["step"] for r in read_jsonl(tmp_path / "parts/timing.jsonl")[0]] == list(range(1, 9))


@pytest.mark.posix
def test_a_killed_process_loses_no_line_it_logged(tmp_path):
    "After SIGKILL right behind a log call, that call's line is in the file."
    code = ("import os, signal; from minillm.tracking import make_trackers\n"
            f"t = make_trackers('', {str(tmp_path / 'run')!r}, {{}})\n"
            "for step in range(1, 51): t.log(step, train_loss=1/step)\n"
            "os.kill(os.getpid(), signal.SIGKILL)")
    assert subprocess.run([sys.executable, "-c", code], timeout=120).returncode == -signal.SIGKILL
    assert len(read_jsonl(tmp_path / "run/log.jsonl")[0]) == len(read_jsonl(tmp_path / "run/timing.jsonl")[0]) == 50


def test_measured_values_lie_apart(tmp_path):
    "Whatever depends on a clock goes to timing.jsonl, everything else to log.jsonl."
    with make_trackers("", tmp_path, {}) as t: t.log(1, train_loss=2.0, tokens_per_s=5.0, cpu_s=1.0, mfu=0.4, tokens=7)
    assert read_jsonl(tmp_path / "log.jsonl")[0] == [{"step": 1, "train_loss": 2.0, "tokens": 7}]
    assert read_jsonl(tmp_path / "timing.jsonl")[0] == [{"step": 1, "tokens_per_s": 5.0, "cpu_s": 1.0, "mfu": 0.4}]
    assert not MEASURED.search("train_loss") and MEASURED.search("wall_s")


def test_cpu_seconds_go_on_after_a_resume(tmp_path):
    "A resumed run's cpu_s continues where the kept part ended, so it never falls."
    with make_trackers("", tmp_path, {}) as t: t.log(1, cpu_s=100.0); t.log(2, cpu_s=200.0)
    with make_trackers("", tmp_path, {}, resume_step=1) as t: t.log(2, train_loss=1.0)
    seconds = [r["cpu_s"] for r in read_jsonl(tmp_path / "timing.jsonl")[0]]
    assert seconds[0] == 100.0 and 100.0 <= seconds[1] < 150


def test_text_and_numbers_of_any_kind_survive(tmp_path):
    "Tensors, NumPy numbers, NaN and hostile text come back from a log that is strict JSON."
    with make_trackers("", tmp_path, {}) as t:
        t.log(1, a=torch.tensor(1.5, requires_grad=True), b=np.float32(2.5), c=torch.tensor([3]), d=math.nan, e=-math.inf, f=True, sample=NASTY)
    for line in (tmp_path / "log.jsonl").read_text(encoding="utf-8").splitlines():  # which ends a line at a raw U+2028 too
        json.loads(line, parse_constant=lambda c: pytest.fail(f"{c} is no JSON"))
    row = read_jsonl(tmp_path / "log.jsonl")[0][0]
    assert (row["a"], row["b"], row["c"], row["f"]) == (1.5, 2.5, 3, True) and math.isnan(row["d"]) and math.isnan(row["e"])
    assert row["sample"] == NASTY.replace("\ud800", "?")


@pytest.mark.parametrize("values", [dict(x=[1]), dict(x=None), dict(x={}), dict(x=torch.ones(2)), dict(x=1j)])
def test_values_of_another_kind_are_refused(tmp_path, values):
    "What is not one number or text is an error that names it, and nothing is written."
    with make_trackers("", tmp_path, {}) as t:
        with pytest.raises(ValueError, match="x .*one number or text"): t.log(1, **values)
    assert read_jsonl(tmp_path / "log.jsonl") == ([], 0)


def test_a_step_never_goes_back(tmp_path):
    "A step below the last one is an error; the same step again is not."
    with make_trackers("", tmp_path, {}) as t:
        t.log(3, train_loss=1.0)
        t.log(3, val_loss=2.0)
        with pytest.raises(ValueError, match="step .2."): t.log(2, train_loss=1.0)
    assert read_run(tmp_path).rows[0] | {"cpu_s": 0} == {"step": 3, "train_loss": 1.0, "val_loss": 2.0, "cpu_s": 0}


# ---- names -----------------------------------------------------------------------------------------------------
def test_unknown_names_and_missing_packages(tmp_path, monkeypatch):
    "An unknown name lists the known ones; a missing package says in one line what adds it; neither writes anything."
    with pytest.raises(ValueError, match="'comet'.*jsonl, tensorboard, wandb, trackio, mlflow, screen"): make_trackers("comet", tmp_path / "x", {})
    monkeypatch.setattr(tracking.importlib.util, "find_spec", lambda name: None)
    for name in ("wandb", "tensorboard", "trackio", "mlflow"):
        with pytest.raises(ImportError) as e: make_trackers(f"jsonl,{name}", tmp_path / "x", {})
        assert 'pip install ".[track]"' in str(e.value) and "\n" not in str(e.value)
    assert not (tmp_path / "x").exists()


def test_names_as_text_or_list(tmp_path):
    "Blanks and repetitions do no harm, and jsonl is always there."
    for i, names in enumerate(("", " jsonl , screen,screen ", ["screen"], ())):
        with make_trackers(names, tmp_path / str(i), {}) as t: assert list(t.trackers) in (["jsonl"], ["jsonl", "screen"])


def test_the_module_alone_imports_no_tracker():
    "Importing the module, and logging to JSONL, brings none of the four packages."
    code = "import sys, minillm.tracking; print([m for m in sys.modules if m in ('wandb', 'tensorboard', 'trackio', 'mlflow', 'IPython', 'matplotlib')])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"


class Failing:
    def __init__(self, *_): self.calls = 0
    def log(self, step, values):
        self.calls += 1
        if self.calls == 3: raise OSError("no space left")
    def finish(self, failed=False): raise OSError("gone")


def test_a_failing_tracker_is_switched_off_loudly(tmp_path, monkeypatch):
    "Another tracker's failure is one warning, and the JSONL log is complete; a failing finish stops nobody's either."
    monkeypatch.setitem(TRACKERS, "failing", (Failing, None))
    with pytest.warns(UserWarning, match="failing failed at step 3.*no space left"): write(tmp_path / "a", range(1, 9), "failing")
    assert len(read_jsonl(tmp_path / "a/log.jsonl")[0]) == 8
    with pytest.warns(UserWarning, match="gone"): write(tmp_path / "b", range(1, 3), "failing")


def test_a_failing_log_stops_the_run(tmp_path):
    "The JSONL file is the one that must not fail in silence."
    t = make_trackers("", tmp_path, {})
    t.trackers["jsonl"].files[0].close()
    with pytest.raises(ValueError, match="closed file"): t.log(1, train_loss=1.0)


# ---- each tracker, read back with its own tools ------------------------------------------------------------------
def wandb_records(path):
    "LevelDB's log format: blocks of 32 KiB; checksum, length and kind before each piece."
    data, at, record = path.read_bytes(), 7, b""
    while at + 7 <= len(data):
        if (rest := 32_768 - at % 32_768) < 7:
            at += rest
            continue
        _, size, kind = struct.unpack("<IHB", data[at:at + 7])
        record, at = record + data[at + 7:at + 7 + size], at + 7 + size
        if kind in (1, 4):
            yield record
            record = b""


def everywhere(tmp_path, name, steps=range(1, 9), **kw):
    pytest.importorskip(name)
    return write(tmp_path / "run", steps, name, sample=NASTY, **kw)


def test_tensorboard_holds_the_values(tmp_path):
    "TensorBoard's own reader returns the values as 32-bit floats, the text and the configuration; a resumed run's overlap is purged."
    folder = everywhere(tmp_path, "tensorboard", range(1, 7))
    everywhere(tmp_path, "tensorboard", range(5, 9), resume_step=4)
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    events = EventAccumulator(str(folder / "tensorboard")).Reload()
    assert {"train_loss", "lr", "grad_norm", "tokens", "cpu_s"} <= set(events.Tags()["scalars"])
    assert [e.step for e in events.Scalars("train_loss")] == list(range(1, 9))
    assert [e.value for e in events.Scalars("train_loss")] == [np.float32(values_at(s)["train_loss"]) for s in range(1, 9)]
    texts = {tag: events.Tensors(tag) for tag in events.Tags()["tensors"]}
    assert any("betas" in str(e.tensor_proto) for tag, found in texts.items() if tag.startswith("config") for e in found)


def test_wandb_holds_the_values_offline(tmp_path):
    "The offline folder's datastore holds each step's values and the configuration, under one id before and after a resume."
    folder = everywhere(tmp_path, "wandb", range(1, 7))
    from wandb.proto.wandb_internal_pb2 import Record
    read = lambda f: [Record.FromString(r) for r in wandb_records(next(f.glob("run-*.wandb")))]
    first = next((folder / "wandb").glob("offline-run-*"))
    records = read(first)
    history = [{i.key or i.nested_key[0]: json.loads(i.value_json) for i in r.history.item} for r in records if r.WhichOneof("record_type") == "history"]
    assert [h["_step"] for h in history] == list(range(1, 7)) and [h["train_loss"] for h in history] == [values_at(s)["train_loss"] for s in range(1, 7)]
    config = {u.key: json.loads(u.value_json) for r in records for u in r.run.config.update}
    assert config["optim"] == CONFIG["optim"] and os.environ["WANDB_MODE"] == "offline"
    everywhere(tmp_path, "wandb", range(5, 9), resume_step=4)
    assert {f.name.split("-")[3] for f in (folder / "wandb").glob("offline-run-*")} == {first.name.split("-")[3]}  # -1 follows within a second


def test_trackio_holds_the_values(tmp_path, capsys):
    "Two runs of one process land each in its own folder's SQLite file, values equal; nothing is printed."
    folder = everywhere(tmp_path, "trackio")
    other = write(tmp_path / "other", range(1, 3), "trackio")
    rows = [(s, json.loads(m)) for s, m in sqlite3.connect(folder / "trackio/minillm.db").execute("select step, metrics from metrics order by step")]
    assert [s for s, _ in rows] == list(range(1, 9)) and [m["train_loss"] for _, m in rows] == [values_at(s)["train_loss"] for s in range(1, 9)]
    config, = sqlite3.connect(folder / "trackio/minillm.db").execute("select config from configs").fetchone()
    assert json.loads(config)["max_steps"] == 8
    assert sqlite3.connect(other / "trackio/minillm.db").execute("select count(*) from metrics").fetchone() == (2,)
    assert capsys.readouterr().out == ""


def test_mlflow_holds_the_values(tmp_path):
    "MLflow's client returns metrics, parameters, text and the run's end; a resumed run goes on in the same run."
    folder = everywhere(tmp_path, "mlflow", range(1, 7))
    everywhere(tmp_path, "mlflow", range(7, 9), resume_step=6)
    from mlflow import MlflowClient
    client = MlflowClient((folder / "mlflow").as_uri())
    run = client.get_run((folder / "mlflow_run_id.txt").read_text(encoding="utf-8"))
    history = client.get_metric_history(run.info.run_id, "train_loss")
    assert [(m.step, m.value) for m in history] == [(s, values_at(s)["train_loss"]) for s in range(1, 9)]
    assert run.data.params["optim.lr"] == "0.003" and run.info.status == "FINISHED"
    assert len(list((folder / "mlflow").rglob("sample/*.txt"))) == 8


@pytest.mark.parametrize("name", ["tensorboard", "wandb", "trackio", "mlflow"])
def test_a_loss_that_is_no_number_stops_no_tracker(tmp_path, name):
    "NaN and infinity are logged everywhere without a warning."
    pytest.importorskip(name)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="tracker .* failed")
        with make_trackers(name, tmp_path / "run", {}) as t:
            t.log(1, train_loss=math.nan)
            t.log(2, train_loss=math.inf)
            assert list(t.trackers) == ["jsonl", name]


def test_a_failed_run_is_marked(tmp_path):
    "When the body of the with statement raises, the trackers hear of it and the error goes on."
    heard = []
    with pytest.raises(KeyError):
        with make_trackers("", tmp_path, {}) as t:
            finish = t.trackers["jsonl"].finish
            t.trackers["jsonl"].finish = lambda failed: (heard.append(failed), finish(failed))
            raise KeyError
    assert heard == [True]


# ---- the screen ------------------------------------------------------------------------------------------------
def test_a_pipe_gets_plain_lines(tmp_path, capsys):
    "Where nobody looks: one line for each evaluation, no bar, no escape code, no carriage return."
    with make_trackers("screen", tmp_path, CONFIG) as t:
        for step in range(1, 9): t.log(step, **values_at(step), **({"val_loss": 3.0} if step % 4 == 0 else {}))
    seen = capsys.readouterr()
    assert seen.err == "" and len(seen.out.splitlines()) == 2 and "\x1b" not in seen.out and "\r" not in seen.out
    assert seen.out.splitlines()[1].startswith("step      8/8  train 0.6000  val 3.0000  lr 0.024")


def test_a_notebook_gets_a_curve_once_a_second(tmp_path, monkeypatch):
    "In a kernel: one display, updated in place, at most once a second and at the end; also before the first evaluation."
    shown, now = [], [0.0]
    handle = types.SimpleNamespace(update=lambda svg: shown.append(svg))
    fake = types.SimpleNamespace(get_ipython=lambda: types.SimpleNamespace(kernel=1))
    monkeypatch.setitem(sys.modules, "IPython", fake)
    monkeypatch.setitem(sys.modules, "IPython.display", types.SimpleNamespace(SVG=str, display=lambda svg, display_id: (shown.append(svg), handle)[1]))
    monkeypatch.setattr(tracking.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with make_trackers("screen", tmp_path, CONFIG) as t:
        for step in range(1, 9):
            now[0] += 0.25
            t.log(step, **values_at(step), **({"val_loss": 3.0} if step % 4 == 0 else {}))
        assert "screen" in t.trackers and len(shown) == 2  # at 0.25 and 1.25 s
    assert len(shown) == 3 and all(ET.fromstring(svg).tag.endswith("svg") for svg in shown) and shown[-1].count("<circle") == 2
    with make_trackers("screen", tmp_path, CONFIG, resume_step=4) as t: t.log(5, **values_at(5))
    assert shown[-1].count("<circle") == 1  # the evaluation of the first part is still in the picture


# ---- curves ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("beta", [0.0, 0.5, 0.98, 0.999])
def test_ema_is_pandas_ewm(beta, capsys):
    "The moving average equals pandas' ewm(adjust=True)."
    pd = pytest.importorskip("pandas")
    values = np.random.default_rng(0).standard_normal(500)
    difference = np.abs(np.array(ema(values, beta)) - pd.Series(values).ewm(alpha=1 - beta, adjust=True).mean()).max()
    with capsys.disabled(): print(f"\nema beside pandas' ewm, beta {beta}: {difference:.1e} (tolerance {EMA})")
    assert difference < EMA


def test_ema_skips_what_is_not_finite():
    "NaN and infinity leave the average as it was; a constant stays that constant; no value gives no value."
    assert ema([math.nan, 2.0, math.inf, 2.0], 0.9)[1:] == [2.0, 2.0, 2.0] and math.isnan(ema([math.nan])[0]) and ema([]) == []


def test_thinning_keeps_every_extreme():
    "Of any series, the thinned one has the same minimum and maximum in each bucket, in order, and nothing new."
    rng = random.Random(0)
    for n in (1, 7, 640, 641, 5000):
        y = [rng.gauss(0, 1) if rng.random() > 0.01 else math.nan for _ in range(n)]
        x, kept = thin(list(range(n)), y, 320)
        assert len(x) <= 640 and x == sorted(set(x)) and all(kept[i] is y[x[i]] for i in range(len(x)))
        for b in range(320) if n > 640 else ():
            bucket = [v for v in y[b*n//320:(b + 1)*n//320] if math.isfinite(v)]
            assert not bucket or {min(bucket), max(bucket)} <= set(kept)


@pytest.mark.parametrize("x, y", [([], []), ([1], [2.0]), ([1, 2], [3.0, 3.0]), ([1, 1], [0.0, 0.0]), ([1, 2, 3], [math.nan]*3),
                                  ([1, 2], [-1e30, 1e30]), ([1, 2], [-5.0, -4.0]), ([0, 1e9], [1e-9, 2e-9]), ([1, 2, 3], [1.0, math.inf, 2.0])])
def test_a_chart_of_anything_is_well_formed(x, y):
    "Empty, constant, tiny, huge, negative and infinite series give a picture without NaN, or say that there is none."
    for kind in ("raw", "mean", "val"):
        svg = line_chart([Line(x, y, "red", kind)], "step", NASTY.replace("\0", "").replace("\ud800", ""))
        assert ET.fromstring(svg) is not None and "nan" not in svg and "inf" not in svg


def test_a_chart_puts_points_where_they_belong():
    "Within the frame, pixels are a linear function of the data, rightwards and upwards."
    svg = line_chart([Line([0, 5, 10], [1.0, 2.0, 3.0], "red")], "x", "y", (1, 3))
    a, b, c = ([float(v) for v in p.split(",")] for p in ET.fromstring(svg).find(".//{*}polyline").get("points").split())
    assert b == pytest.approx([(a[0] + c[0])/2, (a[1] + c[1])/2]) and c[0] > a[0] and c[1] < a[1]


# ---- the watch -------------------------------------------------------------------------------------------------
def warned(losses, **kw):
    watch = LossWatch(**kw)
    return [step for step, loss in enumerate(losses) if watch.update(loss)]


def falling(n, seed, noise=0.1):
    rng = random.Random(seed)
    return [2 + 3*math.exp(-i/200) + rng.gauss(0, noise) for i in range(n)]


def test_planted_spikes_are_found_once_each():
    "Every planted spike of seven deviations or more is reported at its first step, however long it lasts, and nothing else is."
    for seed in range(5):
        losses = falling(2000, seed)
        for start, length in ((300, 1), (900, 5), (1500, 30)):
            for i in range(start, start + length): losses[i] += 1.5
        assert warned(losses) == [300, 900, 1500]


def test_noise_is_no_spike():
    "No warning in ten runs of 2,000 falling, noisy losses, nor when the loss is constant, or nearly zero."
    assert [warned(falling(2000, seed)) for seed in range(10)] == [[]]*10
    assert warned([2.0]*200) == [] and warned([0.0]*200) == [] and warned([2.0]*50 + [2.01] + [2.0]*50) == []


def test_a_new_level_is_one_warning():
    "A loss that jumps and stays is reported once; the window then learns the new level."
    losses = falling(800, 0) + [5 + v for v in falling(800, 1, 0.05)]
    assert warned(losses) == [800]


def test_what_is_no_number_is_always_told():
    "NaN and infinity are reported at once, each time, and do not enter the window."
    assert warned([math.nan, 2.0, math.inf, -math.inf]) == [0, 2, 3]
    watch = LossWatch()
    assert watch.update(torch.tensor(math.nan)) == "loss is nan" and not watch.losses


def test_a_restored_watch_warns_alike():
    "With its state saved as JSON anywhere, the watch gives the warnings of one that was never stopped."
    losses = falling(400, 3)
    for i in range(300, 310): losses[i] += 2
    for stop in (10, 150, 304):
        first, second = LossWatch(), LossWatch()
        told = [first.update(v) for v in losses[:stop]]
        second.load_state_dict(json.loads(json.dumps(first.state_dict())))
        whole = LossWatch()
        assert told + [second.update(v) for v in losses[stop:]] == [whole.update(v) for v in losses]


def test_robust_z():
    "On normal values it is the ordinary z, whatever a tenth of outliers does."
    rng = random.Random(0)
    values = [rng.gauss(5, 2) for _ in range(9000)] + [1e6]*1000
    assert robust_z(11.0, values) == pytest.approx(3, abs=0.6) and (11 - statistics.mean(values))/statistics.stdev(values) < 0
    with pytest.raises(ValueError, match="warm_up"): LossWatch(window=10, warm_up=20)


# ---- the page --------------------------------------------------------------------------------------------------
class Page(html.parser.HTMLParser):
    "Tags that are closed in order, and the text between them."
    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.words = [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag not in ("meta", "circle", "path", "polyline", "line"): self.open.append(tag)

    def handle_endtag(self, tag): assert tag in ("circle", "path", "polyline") or self.open.pop() == tag, tag
    def handle_data(self, data): self.words.append(data)


@pytest.fixture
def two(tmp_path):
    for i, name in enumerate(("small", "<wide>")):
        with make_trackers("", tmp_path / str(i), CONFIG | {"seed": i}, name=name) as t:
            for step in range(1, 201):
                extra = dict(val_loss=2.1234 + 1/step, sample=NASTY) if step % 20 == 0 else {}
                t.log(step, train_loss=2 + 3/step + (4.0 if step == 150 else 0), lr=1e-3, grad_norm=1.0, tokens=512*step, cpu_s=0.02*step*(i + 1), **extra)
    return [tmp_path / "0", tmp_path / "1"]


def test_the_dashboard_is_a_page_of_its_own(two):
    "It parses, names the runs, has the numbers, six charts and the warnings, and asks for nothing from elsewhere."
    text = dashboard(two, "A & B")
    page = Page(text)
    words = "".join(page.words)
    assert text.startswith("<!doctype html>") and page.tags.count("figure") == 6 and page.tags.count("svg") == 12
    assert "A & B" in words and "<wide>" in words and "2.128" in words and "102,400" in words and words.count("step 150: loss 6.02") == 2
    assert "prefers-color-scheme: dark" in text and "script" not in page.tags and not {"img", "link", "iframe"} & set(page.tags)
    assert "http" not in text.replace("http://www.w3.org/2000/svg", "")


def test_the_dashboard_escapes_what_it_shows(two):
    "Text of a model, a name or a configuration never becomes a tag."
    text = dashboard(two, "<script>alert(1)</script>")
    page = Page(text)
    assert "script" not in page.tags and "wide" not in page.tags and "<script" not in text and "alert('x')" in "".join(page.words)


def test_the_dashboard_shows_what_differs_first(two):
    "The configuration's rows that differ are marked and come first."
    text = dashboard(two)
    assert text.count('class="differs"') == 1 and text.index(">seed<") < text.index(">max_steps<")


def test_part_of_a_page_has_no_shell(two):
    "Without its shell it can stand in another page."
    part = dashboard(two[:1], page=False)
    assert "<html" not in part and "<title" not in part.split("<figure")[0] and '<div class="dash">' in part
    Page(part)


@pytest.mark.parametrize("rows", [[], [{"step": 1}], [{"step": 1, "train_loss": None}], [{"step": 1, "val_loss": 2.0}], [{"step": 0, "train_loss": 1e300}, {"step": 5}]])
def test_a_dashboard_of_very_little(tmp_path, rows):
    "A single JSONL file with no, one or strange rows gives a page all the same, and a torn line is counted on it."
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows) + '{"step"', encoding="utf-8")
    run = read_run(tmp_path / "log.jsonl")
    assert run.dropped == 1 and summary(run)["damaged lines"] == 1
    Page(dashboard([tmp_path / "log.jsonl"]))
    Page(dashboard([tmp_path]))


def test_a_run_is_read_back_with_its_clock(two):
    "Rows join log and timing by step, with tokens per second between one line and the next."
    run = read_run(two[0])
    assert run.name == "small" and run.config["seed"] == 0 and len(run.rows) == 200
    assert run.series("tokens_per_s")[1] == pytest.approx([25_600]*199)
    steps, val = run.series("val_loss", "tokens")
    assert steps[0] == 20*512 and val[0] == 2.1234 + 1/20 and isinstance(run, Run)


def test_a_damaged_run_json_is_told(two):
    "A run.json that is no JSON is an error with its path; no run at all is an error too."
    (two[0] / "run.json").write_text("{", encoding="utf-8")
    with pytest.raises(ValueError, match="run.json cannot be read .*delete it"): dashboard(two)
    with pytest.raises(ValueError, match="at least one run"): dashboard([])


def test_a_long_run_makes_a_small_page(tmp_path):
    "Twenty thousand steps fit into 200 kB, spike included."
    with open(tmp_path / "log.jsonl", "w", encoding="utf-8") as f:
        for step in range(1, 20_001): f.write(json.dumps({"step": step, "train_loss": 9.0 if step == 7777 else 2 + math.sin(step)/10, "lr": 1e-3}) + "\n")
    text = dashboard([tmp_path])
    assert len(text) < 200_000 and "step 7,777: loss 9 lies" in text


def test_trackers_are_one(tmp_path):
    "JsonlTracker and Trackers agree on the three methods."
    for cls in (JsonlTracker, *(c for c, _ in TRACKERS.values())): assert callable(cls.log) and callable(cls.finish)
    t = Trackers(tmp_path, ["jsonl"], {}, "r")
    t.log(1, train_loss=1.0)
    t.flush()
    t.finish()
    t.finish()  # again does no harm
    assert json.loads((tmp_path / "run.json").read_text(encoding="utf-8")) == {"name": "r", "config": {}}
