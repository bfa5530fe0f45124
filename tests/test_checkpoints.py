"Checkpoints: whole or not there, exact, and honest about damage."
import errno
import json
import math
import multiprocessing
import os
import random
import signal
import sys
import threading
import time
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save
from torch import nn

import killed_run
from minillm import checkpoints as c
from minillm.checkpoints import (best_checkpoint, checkpoints, claim_folder, clean_leftovers, flatten, hashes, interrupt_flag, is_proven,
                                 latest_checkpoint, load_state, locked, one_core, read_json, read_manifest, resume, rng_state,
                                 safetensors_pieces, save_state, set_rng_state, unflatten, write_checkpoint)
from minillm.shards import file_sha256


def same(a, b):
    "Equal to the last bit and in type, nested."
    if isinstance(a, torch.Tensor): return isinstance(b, torch.Tensor) and a.dtype == b.dtype and a.shape == b.shape and torch.equal(
        a.detach().cpu().contiguous().reshape(-1).view(torch.uint8), b.detach().cpu().contiguous().reshape(-1).view(torch.uint8))
    if isinstance(a, np.ndarray | np.generic): return type(a) is type(b) and a.dtype == b.dtype and a.tobytes() == b.tobytes()
    if isinstance(a, dict): return isinstance(b, dict) and list(a) == list(b) and all(type(k) is type(m) and same(a[k], b[k]) for k, m in zip(a, b))
    if isinstance(a, list | tuple): return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and (a == b or a != a and b != b) and (not isinstance(a, float) or math.copysign(1, a) == math.copysign(1, b))


def some(root, *steps, **about):
    for step in steps: write_checkpoint(root, step, {"a.bin": b"x" * 100, "b.bin": [b"y" * 50, b"z"]}, **about)


def names(root): return [f.name for f in checkpoints(root)]


# ---- the format ------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("dtype", c.DTYPES, ids=lambda d: str(d)[6:])
def test_the_writer_agrees_with_the_library(dtype):
    "Parity: the bytes are safetensors' own, for each dtype, with empty, scalar and strided tensors among them."
    raw = torch.arange(48, dtype=torch.uint8).view(-1) % 2
    t = raw.view(dtype) if dtype.itemsize > 1 or dtype != torch.bool else raw.bool()
    tensors = {"b": t, "a": t.reshape(2, -1).mT, "scalar": t[0], "empty": t[:0], "é\n": t[1:3], "f": torch.ones(3), "h": torch.ones(1, dtype=torch.int16)}
    mine = b"".join(safetensors_pieces(tensors))
    theirs = save({k: v.contiguous().clone() for k, v in tensors.items()})
    print(f"bytes that differ: {sum(x != y for x, y in zip(mine, theirs))} of {len(theirs)}")
    assert mine == theirs


def test_a_file_of_the_library_is_read(tmp_path):
    "Parity: what read_tensors reads is what safetensors reads, and not tied to the file."
    (tmp_path / "x").write_bytes(save({"a": torch.randn(5, 3), "b": torch.arange(4)}))
    mine, theirs = c.read_tensors(tmp_path / "x"), load_file(tmp_path / "x")
    assert same(dict(sorted(mine.items())), dict(sorted(theirs.items())))
    (tmp_path / "x").write_bytes(b"\x08\0\0\0\0\0\0\0notjson!")
    with pytest.raises(ValueError, match="cannot be read"): c.read_tensors(tmp_path / "x")


tensor_values = st.one_of(
    st.lists(st.floats(width=32), max_size=4).map(lambda v: torch.tensor(v, dtype=torch.float32)),
    st.integers(-9, 9).map(torch.tensor), st.booleans().map(torch.tensor),
    st.lists(st.integers(0, 2**32 - 1), max_size=3).map(lambda v: np.array(v, np.uint32)), st.floats().map(np.float64))
plain = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), tensor_values)
keys = st.one_of(st.text(max_size=4), st.integers(-3, 3), st.tuples(st.integers(0, 3)), st.just("$tensor"), st.just("$dict"), st.just("a.b"))
nested = st.recursive(plain, lambda inner: st.one_of(st.lists(inner, max_size=3), st.lists(inner, max_size=3).map(tuple),
                                                     st.dictionaries(keys, inner, max_size=3)), max_leaves=12)


@settings(max_examples=80, deadline=None, derandomize=True)
@given(nested)
def test_any_state_comes_back(value):
    "Nested dicts, lists and tuples of tensors, arrays and numbers survive JSON and safetensors exactly, types and nan included."
    tree, tensors = flatten(value, "x")
    text = json.dumps(tree, allow_nan=False)
    assert same(unflatten(json.loads(text), tensors), value)


def test_shared_tensors_are_stored_once():
    "Tied weights cost their bytes once, and stay tied."
    t = torch.randn(4)
    tree, tensors = flatten(dict(a=t, b=t, c=t.clone(), d=t[:2]))
    back = unflatten(tree, tensors)
    assert list(tensors) == ["a", "c", "d"] and back["a"] is back["b"] and back["a"] is not back["c"]


@pytest.mark.parametrize("value", [object(), {1, 2}, b"bytes", torch.zeros(2, dtype=torch.complex64), torch.zeros(2, 2).to_sparse(),
                                   torch.zeros(2, device="meta"), np.array(["text"]), np.array([object()])], ids=lambda v: type(v).__name__)
def test_what_cannot_be_stored_is_named(value):
    "No pickle to the rescue: the message names the place and what could be stored."
    with pytest.raises(ValueError, match=r"history\.deep\.1.*cannot be stored"): flatten(dict(deep=[1, value]), "history")


# ---- exact ----------------------------------------------------------------------------------------------------------

OPTIMIZERS = dict(
    adamw=lambda p: torch.optim.AdamW(p, lr=1e-2), amsgrad=lambda p: torch.optim.Adam(p, amsgrad=True),
    fused=lambda p: torch.optim.AdamW(p, fused=True), tensor_lr=lambda p: torch.optim.AdamW(p, lr=torch.tensor(1e-2)),
    sgd=lambda p: torch.optim.SGD(p, 0.1), momentum=lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, nesterov=True),
    rmsprop=lambda p: torch.optim.RMSprop(p, centered=True, momentum=0.5), adagrad=torch.optim.Adagrad, rprop=torch.optim.Rprop,
    asgd=torch.optim.ASGD, adadelta=torch.optim.Adadelta, adafactor=torch.optim.Adafactor, nadam=torch.optim.NAdam, radam=torch.optim.RAdam,
    lbfgs=lambda p: torch.optim.LBFGS(p, lr=0.1, max_iter=3, history_size=3),
    groups=lambda p: torch.optim.AdamW([dict(params=p[:2], top_lr=0.1), dict(params=p[2:], weight_decay=0.0)], lr=1e-2))


def small(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.3), nn.Linear(4, 2))


def go(model, optimizer, steps):
    losses = []
    for _ in range(steps):
        x = torch.randn(5, 3)
        def closure(x=x):
            optimizer.zero_grad()
            loss = (model(x) - np.random.rand() - random.random()).pow(2).mean()
            loss.backward()
            return loss
        losses.append(optimizer.step(closure).item())
    return losses


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_goes_on_exactly(name, tmp_path):
    "Whatever torch.optim keeps comes back: the next losses and weights are the same bits."
    model = small()
    optimizer = OPTIMIZERS[name](list(model.parameters()))
    go(model, optimizer, 3)
    folder = write_checkpoint(tmp_path, 3, save_state(model, optimizer, note={"x": 1}))
    state = optimizer.state_dict()
    other = small(1)
    second = OPTIMIZERS[name](list(other.parameters()))
    if name != "lbfgs": go(other, second, 1)  # what was there before is replaced
    before = rng_state()
    set_rng_state(before)
    expected = unflatten(*flatten(state))
    expected = (json.dumps(flatten(expected)[0]), {k: v.clone() for k, v in flatten(expected)[1].items()})
    weights = {k: v.clone() for k, v in model.state_dict().items()}
    assert load_state(folder, other, second) == dict(step=3, score=None, note={"x": 1})
    assert same(dict(other.state_dict()), weights) and json.dumps(flatten(second.state_dict())[0]) == expected[0]
    assert same(flatten(second.state_dict())[1], expected[1])
    load_state(folder, model, optimizer)
    a, wa = go(model, optimizer, 3), [p.clone() for p in model.parameters()]
    load_state(folder, other, second)
    b, wb = go(other, second, 3), list(other.parameters())
    difference = max((x - y).abs().max().item() for x, y in zip(wa, wb))
    print(f"largest difference of weights: {difference}")
    assert a == b and difference == 0.0


def test_moments_keep_their_precision(tmp_path):
    "An optimizer that keeps fp32 moments for bf16 weights gets fp32 back, where torch's load_state_dict would round."
    model = small().to(torch.bfloat16)
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    for p in model.parameters(): optimizer.state[p]["momentum_buffer"] = torch.randn(p.shape)
    folder = write_checkpoint(tmp_path, 1, save_state(model, optimizer))
    second = torch.optim.SGD((other := small(1).to(torch.bfloat16)).parameters(), 0.1, momentum=0.9)
    load_state(folder, other, second)
    assert same(list(s["momentum_buffer"] for s in optimizer.state.values()), list(s["momentum_buffer"] for s in second.state.values()))


def test_all_three_generators_come_back():
    "torch, numpy and random draw again what they drew, a half-used Gaussian pair included."
    random.gauss(0, 1), np.random.randn(), torch.randn(1)
    state = unflatten(*flatten(rng_state()))
    draw = lambda: (random.gauss(0, 1), random.random(), np.random.randn(3).tolist(), torch.randn(3).tolist())
    first = draw()
    set_rng_state(state)
    assert draw() == first


def test_weights_alone_leave_the_generators(tmp_path):
    "Loading for evaluation touches neither the generators nor needs an optimizer."
    model = small()
    folder = write_checkpoint(tmp_path, 1, save_state(model, torch.optim.AdamW(model.parameters())), score=0.5)
    torch.manual_seed(9)
    before = torch.get_rng_state()
    other = small(3)
    torch.set_rng_state(before)
    assert load_state(folder, other) == dict(step=1, score=0.5) and torch.equal(torch.get_rng_state(), before)
    assert same(dict(other.state_dict()), dict(model.state_dict()))


def test_a_compiled_model_has_plain_names(tmp_path):
    "torch.compile's wrapper changes no name in the file."
    model = small()
    wrapped = torch.compile(model)
    folder = write_checkpoint(tmp_path, 1, save_state(wrapped))
    assert set(load_file(folder / "model.safetensors")) == set(model.state_dict())
    load_state(folder, small(1)), load_state(folder, torch.compile(small(2)))


def test_no_copy_of_the_state_is_made():
    "Saving a state holds at most one tensor's bytes beyond the state itself."
    import tracemalloc
    tensors = {str(i): torch.zeros(1_000_000) for i in range(8)}
    tracemalloc.start()
    for piece in safetensors_pieces(tensors): assert len(piece) < 5e6
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1e6


# ---- what is kept ---------------------------------------------------------------------------------------------------

def test_the_newest_two_and_the_best_are_kept(tmp_path):
    "keep counts the newest; the best score stays however old it is."
    scores = [5.0, 3.0, 4.0, 4.5, 3.5]
    for step, score in enumerate(scores, 1): write_checkpoint(tmp_path, step, {"a": b"1"}, score=score)
    assert names(tmp_path) == ["step-00000002", "step-00000004", "step-00000005"]
    assert best_checkpoint(tmp_path).name == "step-00000002" and latest_checkpoint(tmp_path).name == "step-00000005"
    some(tmp_path, 6, 7, keep=1)
    assert names(tmp_path) == ["step-00000002", "step-00000007"]


def test_nothing_there_is_nothing(tmp_path):
    "No folder, an empty folder, strange names: None, and no complaint."
    assert latest_checkpoint(tmp_path / "no") is None and best_checkpoint(tmp_path) is None
    for name in ("step-12", "step-x", ".step-00000001.part", "other"): (tmp_path / name).mkdir()
    (tmp_path / "step-00000009").write_text("a file")
    assert names(tmp_path) == [] and resume(tmp_path, small(), None) is None
    some(tmp_path, 3)
    assert best_checkpoint(tmp_path) is None and latest_checkpoint(tmp_path).name == "step-00000003"


def test_steps_beyond_eight_digits_sort(tmp_path):
    "Order is by number, not by name."
    some(tmp_path, 99_999_999, 100_000_000)
    assert names(tmp_path) == ["step-99999999", "step-100000000"]


def test_a_line_that_was_given_up_goes(tmp_path):
    "After going back to step 2, its old future is removed by the next write, its best included."
    for step, score in ((1, 3.0), (2, 2.5), (3, 1.0)): write_checkpoint(tmp_path, step, {"a": b"1"}, score=score, keep=3)
    write_checkpoint(tmp_path, 2, {"a": b"2"}, score=2.4, keep=3)
    assert names(tmp_path) == ["step-00000001", "step-00000002-2"] and best_checkpoint(tmp_path).name == "step-00000002-2"
    write_checkpoint(tmp_path, 2, {"a": b"3"}, keep=3)
    write_checkpoint(tmp_path, 2, {"a": b"4"}, keep=3)
    assert (latest_checkpoint(tmp_path) / "a").read_bytes() == b"4" and len(checkpoints(tmp_path)) == 2


# ---- damage ---------------------------------------------------------------------------------------------------------

def damages():
    yield "truncated", lambda f: os.truncate(f / "a.bin", 40), "a.bin has 40 bytes, 100 were written"
    yield "empty", lambda f: os.truncate(f / "b.bin", 0), "b.bin has 0 bytes"
    yield "one bit", lambda f: (f / "a.bin").write_bytes(b"x" * 99 + b"y"), "a.bin has another SHA-256"
    yield "missing", lambda f: (f / "a.bin").unlink(), "a.bin is missing"
    yield "manifest gone", lambda f: (f / "manifest.json").unlink(), "manifest.json cannot be read"
    yield "manifest cut", lambda f: os.truncate(f / "manifest.json", 60), "manifest.json cannot be read"
    yield "manifest list", lambda f: (f / "manifest.json").write_text("[]"), "does not hold a dict"
    yield "manifest binary", lambda f: (f / "manifest.json").write_bytes(b"\xff\xfe\x00"), "cannot be read"
    yield "score", lambda f: (f / "manifest.json").write_text((f / "manifest.json").read_text().replace("null", "0.1")), "was changed"
    yield "renamed", lambda f: f.rename(f.with_name("step-00000007")), "was changed"


@pytest.mark.parametrize("kind, damage, reason", list(damages()), ids=lambda v: v if isinstance(v, str) and len(v) < 16 else "")
def test_a_damaged_one_is_skipped_for_the_one_before(kind, damage, reason, tmp_path):
    "One warning, one line, with the folder and the reason; then the checkpoint before it."
    some(tmp_path, 1, 2)
    damage(tmp_path / "step-00000002")
    with pytest.warns(UserWarning, match=reason) as seen: assert latest_checkpoint(tmp_path).name == "step-00000001"
    text = str(seen[0].message)
    assert len(seen) == 1 and "\n" not in text and "step-0000000" in text
    if kind != "renamed":
        some(tmp_path, 2)  # the run goes on and comes to the same step again
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert read_manifest(latest_checkpoint(tmp_path))["step"] == 2
        some(tmp_path, 3)
        assert len(names(tmp_path)) == 2


def test_all_damaged_is_an_error(tmp_path):
    "Starting over silently would throw a run away: a line says what is wrong and what to do."
    some(tmp_path, 1, 2)
    for f in checkpoints(tmp_path): os.truncate(f / "a.bin", 3)
    with pytest.warns(UserWarning), pytest.raises(ValueError, match=r"no checkpoint can be used \(step-00000002: a.bin has 3 bytes.*step-00000001.*delete"):
        latest_checkpoint(tmp_path)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.data())
def test_any_flipped_bit_is_noticed(tmp_path_factory, data):
    "A single bit anywhere in a checkpoint, manifest included, makes it untrusted."
    root = tmp_path_factory.mktemp("flip")
    some(root, 1, score=1.25)
    victim = data.draw(st.sampled_from(sorted((root / "step-00000001").iterdir())))
    raw = bytearray(victim.read_bytes())
    bit = data.draw(st.integers(0, 8 * len(raw) - 1))
    raw[bit // 8] ^= 1 << bit % 8
    victim.write_bytes(raw)
    try: manifest = read_manifest(root / "step-00000001")
    except ValueError: return
    assert victim.name == "manifest.json" and manifest["step"] == 1 and manifest["score"] == 1.25  # a space became another white space


def test_weights_that_are_not_finite_are_refused(tmp_path):
    "nan and inf are never written; what was there stays; a score that is no number is refused as well."
    model = small()
    folder = write_checkpoint(tmp_path, 1, save_state(model))
    with torch.no_grad(): model[2].weight[0, 0] = math.nan
    with pytest.raises(ValueError, match=r"2.weight is not finite \(1 of 4 tensors"): save_state(model)
    assert latest_checkpoint(tmp_path) == folder
    with pytest.raises(ValueError, match="score"): write_checkpoint(tmp_path, 2, {}, score=math.nan)
    with pytest.raises(ValueError, match="keep"): write_checkpoint(tmp_path, 2, {}, keep=0)


@pytest.mark.parametrize("other, optimizer, reason", [
    (lambda: nn.Sequential(nn.Linear(3, 5), nn.Dropout(), nn.Linear(5, 2)), None, r"0.weight is \(4, 3\) float32 there, \(5, 3\) float32 here; 0.bias.*; 2.weight is [^;]*$"),
    (lambda: nn.Sequential(nn.Linear(3, 4)), None, r"2.weight is \(2, 4\) float32 there, unknown here"),
    (lambda: nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2), nn.Linear(2, 2)), None, "3.weight is missing there"),
    (lambda: small().to(torch.bfloat16), None, "float32 there.*bfloat16 here"),
    (small, lambda p: torch.optim.SGD(p, 0.1), r"AdamW with groups of \[4\] parameters there, SGD with groups of \[4\] parameters here"),
    (small, lambda p: torch.optim.AdamW([dict(params=p[:1]), dict(params=p[1:])]), r"\[4\] parameters there.*\[1, 3\] parameters here")],
    ids=["shape", "too many", "too few", "dtype", "optimizer", "groups"])
def test_another_model_is_told_apart(other, optimizer, reason, tmp_path):
    "Names, shapes, dtypes, optimizer: what differs is said, and nothing was changed."
    model = small()
    folder = write_checkpoint(tmp_path, 1, save_state(model, torch.optim.AdamW(model.parameters())))
    mine = other()
    before, rng = {k: v.clone() for k, v in mine.state_dict().items()}, torch.get_rng_state()
    with pytest.raises(ValueError, match=reason) as e: load_state(folder, mine, optimizer and optimizer(list(mine.parameters())))
    assert same(before, dict(mine.state_dict())) and torch.equal(rng, torch.get_rng_state()) and "\n" not in str(e.value)


def test_missing_parts_are_told(tmp_path):
    "Weights alone cannot be trained on: no optimizer, no position."
    model = small()
    folder = write_checkpoint(tmp_path, 1, save_state(model))
    with pytest.raises(ValueError, match="no optimizer there"): load_state(folder, small(), torch.optim.AdamW(model.parameters()))
    with pytest.raises(ValueError, match="no position in the data"): load_state(folder, small(), batches=killed_run.Batches())


def test_other_data_is_refused_before_anything_changes(tmp_path, monkeypatch):
    "Batches that refuse the position leave weights and generators as they were."
    model, optimizer, batches = killed_run.start()
    write_checkpoint(tmp_path, 1, save_state(model, optimizer, batches))
    def refuse(*a): raise ValueError("of another stream")
    monkeypatch.setattr(killed_run.Batches, "load_state_dict", refuse)
    other, second, _ = killed_run.start(2)
    before, rng = {k: v.clone() for k, v in other.state_dict().items()}, torch.get_rng_state()
    with pytest.raises(ValueError, match="another stream"): resume(tmp_path, other, second, batches)
    assert same(before, dict(other.state_dict())) and torch.equal(rng, torch.get_rng_state()) and not second.state


# ---- the disk's complaints ------------------------------------------------------------------------------------------

def test_a_full_disk_leaves_what_was_there(tmp_path, monkeypatch):
    "ENOSPC from the kernel (/dev/full) in the middle of saving: one line, no leftover, the old one intact."
    if not os.path.exists("/dev/full"): pytest.skip("no /dev/full here")
    some(tmp_path, 1)
    real = open
    monkeypatch.setattr(c, "open", lambda p, *a: real("/dev/full" if str(p).endswith("b.bin") else p, *a), raising=False)
    with pytest.raises(OSError, match="checkpoint of step 2 was not written.*No space left.*earlier ones stay") as e: some(tmp_path, 2)
    assert e.value.errno == errno.ENOSPC and sorted(p.name for p in tmp_path.iterdir()) == [".writing", "step-00000001"]
    monkeypatch.undo()
    some(tmp_path, 2)
    assert len(names(tmp_path)) == 2


@pytest.mark.posix
def test_a_file_that_grows_too_large(tmp_path):
    "A limit that the kernel enforces in the middle of a write: the same one line."
    import resource
    some(tmp_path, 1)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
    try:
        with pytest.raises(OSError, match="was not written.*too large"): write_checkpoint(tmp_path, 2, {"a": (b"x" * 4096 for _ in range(9))})
    finally: resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert names(tmp_path) == ["step-00000001"] and not list(tmp_path.glob(".step*"))


def test_a_folder_that_cannot_be_written(tmp_path, monkeypatch):
    "No permission, or a file in the way: one line."
    (tmp_path / "file").write_text("x")
    with pytest.raises(OSError, match="was not written"): some(tmp_path / "file", 1)
    def refuse(*a, **k): raise PermissionError(errno.EACCES, "Permission denied")
    monkeypatch.setattr(c.Path, "mkdir", refuse)
    with pytest.raises(PermissionError, match="was not written to .*Permission denied"): some(tmp_path / "x", 1)


def test_reading_needs_no_permission_to_write(tmp_path, monkeypatch):
    "Finding and loading a checkpoint writes nothing."
    model = small()
    write_checkpoint(tmp_path, 1, save_state(model), score=1.0)
    real = open
    def reading(p, mode="r", *a):
        assert "w" not in mode
        return real(p, mode, *a)
    monkeypatch.setattr(c, "open", reading, raising=False)
    monkeypatch.setattr(c.Path, "mkdir", None)
    load_state(latest_checkpoint(tmp_path), small()), best_checkpoint(tmp_path)


def test_a_bad_iterable_leaves_nothing(tmp_path):
    "Whatever a part raises while it is written, no half checkpoint stays."
    def pieces():
        yield b"1"
        raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt): write_checkpoint(tmp_path, 1, {"a": pieces()})
    assert [p.name for p in tmp_path.iterdir()] == [".writing"]


# ---- processes ------------------------------------------------------------------------------------------------------

def test_a_locked_folder_is_refused(tmp_path):
    "One writer at a time; a live writer's temporary folder survives another one's attempt; the lock goes with its holder."
    with locked(tmp_path, ".writing"):
        (tmp_path / ".step-00000001.part").mkdir()
        with pytest.raises(ValueError, match="another run is using"): some(tmp_path, 2)
        assert (tmp_path / ".step-00000001.part").exists()
    some(tmp_path, 2)
    assert names(tmp_path) == ["step-00000002"] and not list(tmp_path.glob("*.part")) and clean_leftovers(tmp_path) == []


class Killed(BaseException): "What SIGKILL is to a process: nothing of it runs afterwards."


def write_until(n, monkeypatch, *args, **about):
    "write_checkpoint that dies before its n-th line, without any cleaning up; the lines left if it got through."
    left, remove = n, c.shutil.rmtree
    def trace(frame, event, _):
        nonlocal left
        if frame.f_code.co_filename != c.__file__: return None
        left -= event == "line"
        if left == 0: raise Killed  # which also ends the tracing
        return trace
    with monkeypatch.context() as m:
        m.setattr(c.shutil, "rmtree", lambda *a, **k: left == 0 or remove(*a, **k))
        before = sys.gettrace()
        sys.settrace(trace)
        try: write_checkpoint(*args, **about)
        except Killed: pass
        finally: sys.settrace(before)
    return left


def test_killed_before_every_single_line(tmp_path, monkeypatch):
    "A writer that dies at any line of the module leaves the old checkpoints or the new one intact, and the next writer cleans up."
    monkeypatch.setattr(c.os, "fsync", lambda fd: None)  # of a disk that works this shows nothing, and it takes long
    parts, outcomes, left = {"a.bin": b"1" * 64, "b.bin": b"2" * 64}, [], 0
    while left == 0:
        root = tmp_path / str(len(outcomes))
        for step, score in ((1, 1.0), (2, 3.0)): write_checkpoint(root, step, parts, score=score)
        left = write_until(len(outcomes) + 1, monkeypatch, root, 3, parts, score=2.0)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            outcomes.append(int(latest_checkpoint(root).name[-1]))
            assert best_checkpoint(root).name == "step-00000001"
            write_checkpoint(root, 4, parts, score=4.0)
        assert not list(root.glob(".step*")) and latest_checkpoint(root).name == "step-00000004" and len(checkpoints(root)) == 3
    print(f"{len(outcomes)} lines; {outcomes.count(2)} deaths left the old checkpoint, {outcomes.count(3)} the new one")
    assert outcomes == sorted(outcomes) and outcomes.count(2) > 40 and outcomes.count(3) > 5


def spawned():
    "Children from a clean process that has torch loaded: a fork of pytest itself could inherit anything."
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch", "torch._dynamo", "minillm.checkpoints", "minillm.minigpt"])
    return context


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    "The run that nobody killed, and how long it took."
    root = tmp_path_factory.mktemp("whole")
    warm = spawned().Process(target=killed_run.run, args=(tmp_path_factory.mktemp("warm"), 2))
    warm.start(), warm.join()
    start = time.monotonic()
    child = spawned().Process(target=killed_run.run, args=(root, 40, 4, 0.01))
    child.start(), child.join()
    return read_json(root / "result.json"), time.monotonic() - start


def kill_and_resume(root, rng, seconds):
    "Kill at a random moment, every other time in the middle of a save; was it in the middle?"
    child = spawned().Process(target=killed_run.run, args=(root, 40, 4, 0.01))
    child.start()
    if rng.random() < 0.5: time.sleep(rng.uniform(0, seconds))
    else:
        nth, seen = rng.randint(1, 9), ""
        while nth and child.is_alive():
            part = next((p.name for p in (root / "checkpoints").glob(".step-*.part")), seen)
            nth, seen = nth - (part != seen), part
        time.sleep(rng.uniform(0, 0.06))
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    middle = bool(list((root / "checkpoints").glob(".step-*.part")))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        latest = latest_checkpoint(root / "checkpoints")
    again = spawned().Process(target=killed_run.run, args=(root, 40, 4, 0.0))
    again.start(), again.join()
    assert again.exitcode == 0 and not list((root / "checkpoints").glob(".step-*.part"))
    return middle, latest.name if latest else "the start"


def killed(uninterrupted, tmp_path, times, seed):
    whole, seconds = uninterrupted
    hits = []
    for i in range(times):
        hits.append(kill_and_resume(tmp_path / str(i), random.Random(seed + i), seconds))
        mine = read_json(tmp_path / str(i) / "result.json")
        different = sum(a != b for a, b in zip(mine["history"], whole["history"]))
        assert len(mine["history"]) == 40 and different == 0 and mine["weights"] == whole["weights"]
    print(f"killed {times} times, {sum(m for m, _ in hits)} in the middle of a save; went on from {[at for _, at in hits]}; losses that differ: 0")
    return hits


@pytest.mark.posix
def test_killed_at_three_points(uninterrupted, tmp_path):
    "SIGKILL at a random moment, then the same command: losses and weights equal the uninterrupted run's, bit for bit."
    assert len(killed(uninterrupted, tmp_path, 3, seed=100)) == 3


@pytest.mark.slow
@pytest.mark.posix
def test_killed_at_twenty_points(uninterrupted, tmp_path):
    "The same twenty times, some of them in the middle of a save, from different checkpoints."
    hits = killed(uninterrupted, tmp_path, 20, seed=200)
    assert sum(m for m, _ in hits) >= 3 and len({at for _, at in hits}) >= 4


@pytest.mark.parametrize("forgotten", ["rng", "batches", "optimizer"])
def test_what_is_forgotten_shows(forgotten, tmp_path, monkeypatch):
    "Planted: without the generators, the position or the moments a resumed run is another run."
    model, optimizer, batches = killed_run.start()
    for _ in range(5): killed_run.one_step(model, optimizer, batches)
    folder = write_checkpoint(tmp_path, 5, save_state(model, optimizer, batches))
    whole = [killed_run.one_step(model, optimizer, batches) for _ in range(5)]
    if forgotten == "rng": monkeypatch.setattr(c, "set_rng_state", lambda state: None)
    if forgotten == "optimizer": monkeypatch.setattr(c, "load_optimizer", lambda *a: None)
    if forgotten == "batches": monkeypatch.setattr(killed_run.Batches, "load_state_dict", lambda *a: None)
    resume(tmp_path, *(again := killed_run.start()))
    assert [killed_run.one_step(*again) for _ in range(5)] != whole
    monkeypatch.undo()
    load_state(folder, *(again := killed_run.start(1)))
    assert [killed_run.one_step(*again) for _ in range(5)] == whole


@pytest.mark.gpu
def test_a_gpu_goes_on_exactly(tmp_path):
    "Dropout on a GPU has its own generator; it comes back too."
    model = small().cuda()
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    def go(model, optimizer):
        losses = []
        for _ in range(4):
            loss = model(torch.randn(64, 3, device="cuda")).pow(2).mean()
            optimizer.zero_grad(), loss.backward(), optimizer.step()
            losses.append(loss.item())
        return losses
    go(model, optimizer)
    write_checkpoint(tmp_path, 4, save_state(model, optimizer))
    whole = go(model, optimizer)
    other = small(3).cuda()
    second = torch.optim.AdamW(other.parameters(), fused=True)
    resume(tmp_path, other, second)
    assert go(other, second) == whole and all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters()))


# ---- signals and run folders ----------------------------------------------------------------------------------------

@pytest.mark.posix
@pytest.mark.parametrize("first", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_raises_a_flag(first):
    "The first signal is only noted, a second SIGTERM too; a Ctrl-C after that stops at once; the old handlers come back."
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with interrupt_flag() as pressed:
        assert not pressed
        os.kill(os.getpid(), first)
        assert pressed == [signal.Signals(first).name]
        os.kill(os.getpid(), signal.SIGTERM)
        assert len(pressed) == 2
        with pytest.raises(KeyboardInterrupt): os.kill(os.getpid(), signal.SIGINT)
    assert before == (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM))


def test_signals_belong_to_the_main_thread():
    "Elsewhere the flag stays down instead of failing."
    found = []
    def work():
        with interrupt_flag() as pressed: found.append(list(pressed))
    thread = threading.Thread(target=work)
    thread.start(), thread.join()
    assert found == [[]]


def test_an_exception_passes_the_flag():
    "A ValueError from the loop is not mistaken for the missing main thread."
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(ValueError, match="mine"), interrupt_flag(): raise ValueError("mine")
    assert signal.getsignal(signal.SIGINT) is before


def test_one_core_gives_back(monkeypatch):
    "Threads and precision inside, and as they were afterwards, an exception or not."
    threads, precision = torch.get_num_threads(), torch.get_float32_matmul_precision()
    with pytest.raises(RuntimeError), one_core():
        assert torch.get_num_threads() == 1 and torch.get_float32_matmul_precision() == "medium"
        raise RuntimeError
    assert (torch.get_num_threads(), torch.get_float32_matmul_precision()) == (threads, precision)


def test_a_folder_belongs_to_one_configuration(tmp_path):
    "The same configuration goes on, tuples and all; another one is named."
    claim_folder(tmp_path, dict(a=1, b=(1, 2)))
    claim_folder(tmp_path, dict(a=1, b=(1, 2)))
    with pytest.raises(ValueError, match=r"another configuration \(a 1 -> 2; c None -> 3\)"): claim_folder(tmp_path, dict(a=2, b=(1, 2), c=3))
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ValueError, match="cannot be read"): claim_folder(tmp_path, dict(a=1))


def test_a_proof_holds_until_something_changes(tmp_path):
    "Inputs, outputs and their number: a change in any breaks it, so does a damaged record."
    for name in ("in.txt", "out.txt"): (tmp_path / name).write_text(name)
    record = tmp_path / "stage.json"
    proven = lambda: is_proven(tmp_path, record, ["in.*"], ["out.txt"])
    write = lambda: record.write_text(json.dumps(dict(inputs=hashes(tmp_path, ["in.*"]), outputs=hashes(tmp_path, ["out.txt"]))))
    assert not proven()
    write()
    assert proven() and hashes(tmp_path, ["in.*"]) == {"in.txt": file_sha256(tmp_path / "in.txt")}
    (tmp_path / "in.more").write_text("x")
    assert not proven()
    write(), (tmp_path / "out.txt").unlink()
    assert not proven()
    write()
    assert not proven()  # nothing there is no output
    record.write_text("{")
    assert not proven()
