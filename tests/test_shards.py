"Token files: the same numbers back, whole or not at all; each window once an epoch, on one process or many, from any position."
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from minillm.bpe import SPECIAL_TOKENS, train_bpe
from minillm.pydocs import documents, page
from minillm.shards import (Batches, ShardsRun, open_shard, permute, read_meta, run_shards, to_ids, token_dtype,
                            tokenizer_sha256, write_shards)
from minillm.tokenizer import load_tokenizer, save_tokenizer

quiet = settings(deadline=None, derandomize=True, max_examples=40)
FIXED, FAR = [4, 0, 2, 1, 5, 9, 8, 6, 7, 3], [692187126154, 491111545728]
DOCUMENTS = st.lists(st.lists(st.integers(0, 99), max_size=9), min_size=1, max_size=8)


def refused(f, *args, **kwargs):
    "The one line of a refusal."
    with pytest.raises((ValueError, OSError)) as caught: f(*args, **kwargs)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400, caught.value
    return str(caught.value)


@pytest.fixture
def toy(tmp_path): return write_shards(tmp_path / "toy", dict(train=[[5, 6, 7], [8], [9, 10]], val=[[11, 12]]), 70, 0, [2] * 70)


@pytest.fixture(scope="module")
def pages(): return [page(d) for d in documents() if d.split == "train" and d.source in ("stdlib", "topics")][:400]


@pytest.fixture(scope="module")
def tokenizer(pages, tmp_path_factory):
    made = train_bpe(pages, 600, SPECIAL_TOKENS)
    save_tokenizer(made, tmp_path_factory.mktemp("made") / "tokenizer")
    return made


# ---- writing and reading


@pytest.mark.parametrize("vocab_size", [100, 65_536, 65_537])
def test_round_trip(tmp_path, vocab_size):
    "Any documents come back, each with its end, in two bytes a token or four."
    n = iter(range(10_000))

    @settings(quiet, max_examples=12)
    @given(DOCUMENTS)
    def check(docs):
        folder = write_shards(tmp_path / str(next(n)), dict(train=iter(docs)), vocab_size, end=99, token_bytes=range(vocab_size))
        shard = open_shard(folder)
        assert [shard.document(i).tolist() for i in range(shard.n_documents)] == [[*d, 99] for d in docs]
        assert shard.ids.dtype == (np.uint16 if vocab_size <= 65_536 else np.uint32)
        assert shard.n_bytes == sum(sum(d) + 99 for d in docs) and len(shard) == sum(len(d) + 1 for d in docs)
    check()


def test_shuffled_documents(tmp_path):
    "A seed changes the order of the documents and nothing else; the same seed gives the same file."
    docs = [[i] * (i % 7 + 1) for i in range(900)]
    made = {seed: open_shard(write_shards(tmp_path / str(seed), dict(train=docs), 1000, 999, seed=seed)) for seed in (None, 1, 2)}
    again = open_shard(write_shards(tmp_path / "again", dict(train=docs), 1000, 999, seed=1))
    texts = {seed: [s.document(i).tolist() for i in range(900)] for seed, s in made.items()}
    assert again.sha256 == made[1].sha256 != made[2].sha256 and texts[1] != texts[2]
    assert sorted(texts[1]) == sorted(texts[2]) == sorted(texts[None]) and texts[None][3] == [3, 3, 3, 3, 999]


@pytest.mark.parametrize("ids, words", [([-1], "id (-1)"), ([70_000], "id (70000)"), ([1.5], "whole numbers"), ([[1, 2]], "one row"),
                                        (["a"], "whole numbers"), ([True], "whole numbers"), (np.array([2**40]), "id (1099511627776)")])
def test_no_id_is_changed_in_silence(ids, words):
    "What is no id of the vocabulary is refused, where NumPy would store another number."
    assert words in refused(to_ids, ids, 65_536)


def test_impossible_vocabularies():
    "A vocabulary is between one token and 2**32."
    for size in (0, -1, 2**32 + 1): assert str(size) in refused(token_dtype, size)


def test_failures_leave_what_was_there(toy, tmp_path):
    "An error in the middle of writing changes no file and leaves no other behind."
    before = {p.name: p.read_bytes() for p in toy.iterdir()}
    def breaks():
        yield [1]
        raise OSError("no space left on device")
    refused(write_shards, toy, dict(train=breaks()), 70)
    refused(write_shards, toy, dict(train=[[1], [70]]), 70)
    refused(write_shards, toy, dict(train=[[1]], val=[]), 70)
    assert {p.name: p.read_bytes() for p in toy.iterdir()} == before
    (tmp_path / "train.bin").write_bytes(b"mine")
    assert "another folder" in refused(write_shards, tmp_path, dict(train=[[1]]), 70)
    assert (tmp_path / "train.bin").read_bytes() == b"mine"


@pytest.mark.posix
def test_killed_while_writing(toy):
    "SIGKILL in the middle of writing leaves the shards of before."
    code = ("import sys, time; from minillm.shards import write_shards\n"
            "def slow():\n    yield [1]\n    print('writing', flush=True)\n    time.sleep(60)\n"
            "write_shards(sys.argv[1], dict(train=slow()), 70)")
    child = subprocess.Popen([sys.executable, "-c", code, str(toy)], stdout=subprocess.PIPE)
    assert child.stdout.readline() == b"writing\n"
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()
    assert open_shard(toy).document(0).tolist() == [5, 6, 7, 0]


def test_damage_is_told_in_one_line(toy):
    "Truncated, longer, flipped, absent and foreign files are refused, with the file's name."
    good = {p.name: p.read_bytes() for p in toy.iterdir()}
    flip = lambda data, k: data[:k] + bytes([data[k] ^ 4]) + data[k + 1:]
    spoiled = [("train.bin", good["train.bin"][:-1]), ("train.bin", good["train.bin"] + b"\0\0"), ("train.bin", b""), ("train.bin", None),
               ("train.idx", None), ("meta.json", None), ("meta.json", b""), ("meta.json", b"[1]"), ("meta.json", b"\xff"), ("meta.json", b"{}"),
               ("meta.json", b"[" * 100_000), ("meta.json", good["meta.json"].replace(b"tokens 1", b"tokens 9")),
               *(("train.bin", flip(good["train.bin"], k)) for k in range(0, 18, 5)), *(("train.idx", flip(good["train.idx"], k)) for k in (0, 9, 31))]
    meta = json.loads(good["meta.json"])
    for name in ("tokens", "documents", "sha256", "bytes", "vocab_size", "borders_sha256", "end"):
        spoiled.append(("meta.json", json.dumps({k: v for k, v in meta.items() if k != name}).encode()))
    for name in ("tokens", "documents", "vocab_size"): spoiled.append(("meta.json", json.dumps(meta | {name: None}).encode()))
    for name, data in spoiled:
        (toy / name).unlink() if data is None else (toy / name).write_bytes(data)
        assert name in refused(open_shard, toy), (name, data)
        (toy / name).write_bytes(good[name])
    (toy / "meta.json").write_text(json.dumps(meta | dict(sha256=dict(train=None))))
    assert "SHA-256" in refused(open_shard, toy)
    (toy / "meta.json").write_bytes(good["meta.json"])
    assert "train, val" in refused(open_shard, toy, "test")
    assert len(open_shard(toy)) == 9


def test_without_verification_sizes_are_compared(toy):
    "verify=False does not read the file, but sees a truncated one."
    data = (toy / "train.bin").read_bytes()
    (toy / "train.bin").write_bytes(bytes(len(data)))
    assert open_shard(toy, verify=False).ids.tolist() == [0] * 9
    (toy / "train.bin").write_bytes(data[:-2])
    assert "18 were written" in refused(open_shard, toy, verify=False)


def test_a_document_that_is_not_there(toy):
    "An index out of range is an IndexError, a shard is read-only."
    shard = open_shard(toy)
    for i in (-1, 3):
        with pytest.raises(IndexError): shard.document(i)
    with pytest.raises(ValueError): shard.ids[0] = 1


# ---- order


@quiet
@given(st.integers(1, 3000), st.integers(0, 2**63 - 1), st.integers(0, 5))
def test_a_permutation(n, seed, epoch):
    "Each number of the range stands at exactly one place, and a place alone has the same number."
    order = permute(np.arange(n), n, seed, epoch)
    assert np.array_equal(np.sort(order), np.arange(n)) and permute(np.array([n // 2]), n, seed, epoch)[0] == order[n // 2]


def test_the_order_is_for_ever():
    "The numbers themselves: another machine, NumPy or version must give the same."
    assert permute(np.arange(10), 10, 1337).tolist() == FIXED
    assert permute(np.array([0, 10**12 - 1]), 10**12, 7, 3).tolist() == FAR


def test_the_order_looks_like_chance():
    "Over seeds every number stands at every place equally often; neighbours and epochs are uncorrelated."
    counts = np.zeros((8, 8))
    for seed in range(800): counts[np.arange(8), permute(np.arange(8), 8, seed)] += 1
    chi2 = ((counts - 100)**2 / 100).sum()
    assert 20 < chi2 < 95, chi2  # 49 degrees of freedom, mean 49, one in a thousand beyond 86
    a, b = (permute(np.arange(100_000), 100_000, 1, epoch) for epoch in (0, 1))
    for x, y in ((a[1:], a[:-1]), (a, b), (a, np.arange(100_000)), (a, permute(np.arange(100_000), 100_000, 2))):
        assert abs(np.corrcoef(x, y)[0, 1]) < 0.015
    print(f"chi2 of 49 degrees: {chi2:.1f}")


# ---- batches


@quiet
@given(st.integers(2, 80), st.integers(1, 9), st.integers(1, 7), st.integers(0, 3))
def test_each_window_once_an_epoch(n, T, B, seed):
    "Over three epochs each window of each epoch is read exactly once, in order of the epochs."
    if n <= T: return
    batches = Batches(np.arange(n), T, B, seed)
    due = [sorted(batches.windows(e)[:, 0].tolist()) for e in range(3)]
    total = sum(map(len, due))
    read = [row for _ in range(-(-total // B)) for row in next(batches)[0][:, 0].tolist()]
    for windows in due:
        assert sorted(read[:len(windows)]) == windows
        read = read[len(windows):]
        assert min(windows) < T and n - 1 - (max(windows) + T) < T  # nothing that would fit is left out at the end


def test_targets_are_one_ahead():
    "y is x one token later, int64, whatever the file's type."
    for dtype in (np.uint16, np.uint32, np.int64):
        x, y = next(Batches(np.arange(1000).astype(dtype), 7, 5))
        assert x.shape == y.shape == (5, 7) and x.dtype == y.dtype == torch.int64 and torch.equal(y, x + 1)


def test_ids_above_the_signed_range_stay():
    "An id of uint16 above 32,767 and one of uint32 above 2**31 arrive as they are."
    for dtype, top in ((np.uint16, 65_535), (np.uint32, 2**32 - 1)):
        assert next(Batches(np.full(9, top, dtype), 3, 2))[0].unique().tolist() == [top]


@pytest.mark.parametrize("world_size", [1, 2, 3, 5])
def test_ranks_together_are_one_process(world_size):
    "W ranks of B windows read, rank after rank, what one process of W*B reads, across epochs."
    ids = np.arange(3001)
    one, ranks = Batches(ids, 16, 4 * world_size), [Batches(ids, 16, 4, rank=r, world_size=world_size) for r in range(world_size)]
    for _ in range(150): assert torch.equal(next(one)[0], torch.cat([next(r)[0] for r in ranks]))
    assert one.epoch > 2 and all(r.state_dict() == one.state_dict() for r in ranks)


def test_accumulating_is_another_rank():
    "A process that takes W micro batches one after the other reads what W ranks read."
    one, ranks = Batches(np.arange(500), 8, 3), [Batches(np.arange(500), 8, 3, rank=r, world_size=4) for r in range(4)]
    for _ in range(40):
        for r in ranks: assert torch.equal(next(one)[1], next(r)[1])


@quiet
@given(st.integers(0, 60), st.integers(1, 3))
def test_resume_is_exact(steps, new_world):
    "From a state that went through JSON the stream goes on at the next window, on any number of processes."
    ids = np.arange(400)
    run = Batches(ids, 6, 6, seed=9)
    for _ in range(steps): next(run)
    state = json.loads(json.dumps(run.state_dict()))
    ranks = [Batches(ids, 6, 6 // new_world, seed=9, rank=r, world_size=new_world) for r in range(new_world)]
    for r in ranks: r.load_state_dict(state)
    for _ in range(5): assert torch.equal(next(run)[0], torch.cat([next(r)[0] for r in ranks]))


def test_a_position_in_another_stream_is_refused(toy):
    "Seed, window and the tokens' hash must be the same, and the numbers a position."
    batches = Batches(open_shard(toy), 2, 1)
    state = batches.state_dict()
    for change in (dict(seed=3), dict(seq_len=5), dict(sha256="00"), dict(index=99), dict(index=-1), dict(epoch=-1), dict(epoch=1.5), dict(index=None), dict(index=True)):
        words = refused(batches.load_state_dict, state | change)
        assert next(iter(change)) in words
    assert "seed" in refused(batches.load_state_dict, {})
    assert batches.state_dict() == state


@pytest.mark.parametrize("change, words", [(dict(seq_len=0), "seq_len (0)"), (dict(micro_batch_size=0), "micro_batch_size (0)"), (dict(seed=-1), "seed (-1)"),
                                           (dict(rank=2, world_size=2), "rank (2)"), (dict(rank=-1), "rank (-1)"), (dict(world_size=0), "rank (0)"), (dict(seq_len=100), "too short")])
def test_impossible_batches(change, words):
    "A number out of range is named with its value."
    assert words in refused(Batches, np.arange(100), **dict(seq_len=4, micro_batch_size=2) | change)


def test_torch_reads_the_same_windows():
    "A DataLoader over our windows in our order gives our batches."
    from torch.utils.data import DataLoader
    ids = np.arange(2000) % 50_000
    batches = Batches(ids.astype(np.uint16), 10, 5, seed=2)
    windows = torch.from_numpy(np.array(batches.windows(0), np.int64))
    loader = DataLoader(windows, batch_size=5, sampler=permute(np.arange(len(windows)), len(windows), 2).tolist(), drop_last=True)
    for theirs in loader: assert torch.equal(torch.cat([(b := next(batches))[0], b[1][:, -1:]], 1), theirs)


# ---- from a corpus


def test_corpus_to_tokens(tmp_path, pages, tokenizer):
    "Every document of the corpus is there once, followed by its end, and its bytes are counted."
    (tmp_path / "corpus").mkdir()
    for i, text in enumerate(pages[:50]): (tmp_path / f"corpus/{i}.txt").write_text(text, encoding="utf-8", newline="")
    folder = run_shards(cfg := ShardsRun(tmp_path / "corpus", save_tokenizer(tokenizer, tmp_path / "tokenizer"), tmp_path / "tokens"))
    shard, end = open_shard(folder), tokenizer.special_tokens["<|endoftext|>"]
    assert sorted(tokenizer.decode(shard.document(i)[:-1]) for i in range(shard.n_documents)) == sorted(pages[:50])
    assert shard.n_bytes == sum(len(text.encode()) + 1 for text in pages[:50]) and all(shard.document(i)[-1] == end for i in range(50))
    assert read_meta(folder)["tokenizer"] == tokenizer_sha256(load_tokenizer(tmp_path / "tokenizer"))
    when = (folder / "train.bin").stat().st_mtime_ns
    assert run_shards(cfg) == folder and (folder / "train.bin").stat().st_mtime_ns == when  # left as it is
    (folder / "train.bin").write_bytes(b"")
    run_shards(cfg)
    assert len(open_shard(folder)) == len(shard)  # a damaged one is written again
    (tmp_path / "corpus/0.txt").write_text("changed")
    run_shards(cfg)
    assert open_shard(folder).sha256 != shard.sha256


def test_minillm_corpus_comes_with_its_splits(tmp_path, pages, tokenizer):
    "train-*.parquet and val-*.parquet become two splits."
    import pyarrow as pa
    import pyarrow.parquet as pq
    (tmp_path / "corpus").mkdir()
    for split, texts in (("train", pages[:30]), ("val", pages[30:40])): pq.write_table(pa.table({"text": texts}), tmp_path / f"corpus/{split}-00000.parquet")
    folder = run_shards(ShardsRun(tmp_path / "corpus", save_tokenizer(tokenizer, tmp_path / "tokenizer"), tmp_path / "tokens"))
    assert [open_shard(folder, split).n_documents for split in ("train", "val")] == [30, 10]
    assert "column 'body'" in refused(run_shards, ShardsRun(tmp_path / "corpus", tmp_path / "tokenizer", tmp_path / "other", column="body"))


@pytest.mark.parametrize("texts", [["to be or not to be, " * 50], ["abc"] * 40, ["a", "b" * 500, "c"]])
def test_a_text_without_a_split_is_cut_near_its_end(tmp_path, tokenizer, texts):
    "The last share of the characters is held out, nothing is lost or in both; a corpus with a split is not cut."
    import pyarrow as pa
    import pyarrow.parquet as pq
    pq.write_table(pa.table({"text": texts}), tmp_path / "text.parquet")
    folder = run_shards(cfg := ShardsRun(tmp_path / "text.parquet", save_tokenizer(tokenizer, tmp_path / "tokenizer"), tmp_path / "out", val_share=0.1))
    read = {split: [tokenizer.decode(s.document(i)[:-1]) for i in range(s.n_documents)] for split in ("train", "val") for s in [open_shard(folder, split)]}
    n = sum(map(len, texts))
    assert sorted("".join([*read["train"], *read["val"]])) == sorted("".join(texts)) and len("".join(read["train"])) == int(n * 0.9)
    (folder / "val.bin").write_bytes(b"")
    run_shards(cfg)
    assert open_shard(folder, "val").n_documents == len(read["val"])  # written again
    for share in (-0.1, 1, float("nan")): assert "val_share" in refused(ShardsRun, tmp_path, val_share=share)


def test_a_tokenizer_without_an_end(tmp_path, pages):
    "Documents must be told apart."
    save_tokenizer(train_bpe(pages[:20], 300, []), tmp_path / "tokenizer")
    (tmp_path / "text.txt").write_text("hello")
    assert "<|endoftext|>" in refused(run_shards, ShardsRun(tmp_path / "text.txt", tmp_path / "tokenizer", tmp_path / "out"))


def test_datasets_cuts_the_same_blocks(pages, tokenizer, tmp_path):
    "Hugging Face's recipe (join, cut) gives our windows."
    datasets = pytest.importorskip("datasets")
    docs, end = [tokenizer.encode(text) for text in pages[:100]], tokenizer.special_tokens["<|endoftext|>"]
    shard = open_shard(write_shards(tmp_path / "s", dict(train=docs), len(tokenizer), end))
    def blocks(batch):
        ids = [i for d in batch["ids"] for i in d]
        return {"ids": [ids[k:k + 64] for k in range(0, len(ids) // 64 * 64, 64)]}
    datasets.disable_progress_bars()
    theirs = datasets.Dataset.from_dict({"ids": [[*d, end] for d in docs]}).map(blocks, batched=True, batch_size=None)
    assert theirs["ids"][:] == [shard.ids[k:k + 64].tolist() for k in range(0, len(shard) // 64 * 64, 64)]


def test_reading_is_faster_than_a_stack_of_slices():
    "Batches take less CPU time than nanoGPT's loop on the same array."
    data = np.random.default_rng(0).integers(0, 50_000, 1_000_000).astype(np.uint16)
    def stacked():
        ix = torch.randint(len(data) - 256, (12,))
        return [torch.stack([torch.from_numpy(data[i + k:i + k + 256].astype(np.int64)) for i in ix]) for k in (0, 1)]
    ours, times = Batches(data, 256, 12), {"ours": [], "theirs": []}
    for _ in range(5):
        for name, read in (("ours", lambda: next(ours)), ("theirs", stacked)):
            start = time.process_time()
            for _ in range(100): read()
            times[name].append(time.process_time() - start)
    ratio = sorted(times["theirs"])[2] / sorted(times["ours"])[2]
    print(f"{ratio:.1f} times as fast")
    assert ratio > 1.2


def test_large_files_open_without_memory(tmp_path):
    "A sparse file of a billion tokens opens and is read somewhere, in little memory: of a process of its own, for ours has had more already."
    if not os.path.exists("/proc/self/status"): pytest.skip("reads the peak of a process from /proc")
    n = 10**9
    shard_meta = json.loads((write_shards(tmp_path / "big", dict(train=[[1, 2, 3]]), 100) / "meta.json").read_text())
    os.truncate(tmp_path / "big/train.bin", 2 * n)
    (tmp_path / "big/train.idx").write_bytes(np.array([0, n], "<u8").tobytes())
    (tmp_path / "big/meta.json").write_text(json.dumps(shard_meta | dict(tokens=dict(train=n))))
    code = """
import sys
from minillm.shards import Batches, open_shard
def mb(name): return int(next(line for line in open("/proc/self/status") if line.startswith(name)).split()[1])/1e3
before, shard = mb("VmRSS"), open_shard(sys.argv[1], verify=False)
batches = Batches(shard, 1024, 8)
for _ in range(20): assert next(batches)[0].shape == (8, 1024)
print(len(shard), mb("VmHWM") - before)
"""
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "big"], capture_output=True, text=True, check=True)
    tokens, grown = done.stdout.split()
    assert int(tokens) == n and float(grown) < 100, grown
