"refine: recipes and rows, cutting and mixing streams, whole files, finished work, processes."
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minillm import refine
from minillm.dedup import band_keys, choose_bands, minhash, shingle_sets
from minillm.pydocs import Document, documents, page
from minillm.refine import (KIN, RECIPES, SCHEMA, STEPS, CorpusConfig, batch_digest, batches, clean_batch, clean_document, code_lines, jobs,
                            made_with, n_tokens, ordered_map, read_batches, rules_for, sketch, take_turns, text_key, write_batch, write_whole)
from minillm.sources import Item

quick = settings(deadline=None, derandomize=True, max_examples=60)
TEXT = "A heap keeps its smallest item first, and the module heapq works with it. "


def config(tmp_path, *texts, **changes):
    (tmp_path / "in.jsonl").write_text("\n".join(json.dumps(dict(text=t)) for t in texts), encoding="utf-8")
    return CorpusConfig((str(tmp_path / "in.jsonl"),), tmp_path / "out", **changes)


def item(text, url="u"): return Item(url, "file", text)


@pytest.mark.parametrize("changes, words", [
    (dict(sources=()), "sources is empty"), (dict(recipe="pile"), "docs, web"), (dict(workers=0), "workers (0) must be 1"),
    (dict(near=0.2), "try 0.8"), (dict(near=float("nan")), "near"), (dict(val_share=1.0), "below 1"), (dict(bytes_per_token=0), "above 0"),
    (dict(target_tokens=-1), "target_tokens (-1)"), (dict(sources="docs"), "('docs',)"), (dict(batch_bytes=0), "batch_bytes (0)")])
def test_a_wrong_configuration_is_refused(changes, words):
    "The message names the field, the value and the rule."
    with pytest.raises(ValueError) as error: CorpusConfig(**dict(sources=("docs",)) | changes)
    assert words in str(error.value) and "\n" not in str(error.value)


def test_the_configuration_is_json_without_workers():
    "What the result depends on survives JSON; folder and workers are not part of it."
    one, two = (CorpusConfig(["docs"], "x", workers=w).as_json() for w in (1, 2))
    assert one == two == json.loads(json.dumps(one)) and "out" not in one and one["sources"] == ["docs"]


def test_a_command_line_can_be_made_of_it():
    "tyro reads the configuration from flags, at most fifteen of them."
    import tyro
    cfg = tyro.cli(CorpusConfig, args=["--sources", "docs", "x.txt", "--recipe", "web-code", "--target-tokens", "5", "--workers", "2"])
    assert cfg.sources == ("docs", "x.txt") and cfg.target_tokens == 5 and len(cfg.__dataclass_fields__) <= 15


@quick
@given(st.text(), st.sampled_from([0.5, 1.0, 3.7, 4.0, 8.0]))
def test_no_text_is_free(text, per):
    "The estimate is at least bytes over bytes per token, by less than one token."
    assert 0 <= n_tokens(text, per) - len(text.encode()) / per < 1


@quick
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=9), max_size=6))
def test_keys_ignore_white_space_and_nothing_else(words):
    "Texts of the same words have one key, however they are spaced; others have other keys."
    words = [w for w in " ".join(words).split()]
    assert text_key(" ".join(words)) == text_key("\n\t".join(words) + " ") != text_key(" ".join([*words, "x"]))


def test_rules_for_code():
    "Generated code, data and markup get their reasons, real modules none."
    import heapq, inspect
    assert code_lines(inspect.getsource(heapq)) is None and code_lines("x" * 1001) == "a line over 1000 characters"
    assert code_lines("x" * 1000).startswith("lines over") and code_lines("{" * 50).startswith("few")


def test_stop_words_follow_the_language():
    "Spanish is judged by Spanish stop words; a language without a list is not judged by any; code never."
    spanish = "El montón es una lista que guarda primero el elemento menor de la colección y en el módulo están las funciones. " * 3
    names = {c: set(rules_for(RECIPES["web"], c)) for c in ("en", "es", "fi", "")}
    assert names["en"] == names["es"] == names[""] and names["fi"] == names["en"] - {"gopher_stop_words"}
    assert rules_for(RECIPES["web"], "en")["gopher_stop_words"](spanish) and not rules_for(RECIPES["web"], "es")["gopher_stop_words"](spanish)
    assert "gopher_stop_words" not in rules_for(RECIPES["web"], "en", code=True)


def test_personal_data_is_masked_in_what_is_left_out_too():
    "A document with a reason shows no address: its first lines stand in the report."
    row = clean_document(Document("1", "ana@example.com", "file", "u", ""), CorpusConfig(("docs",), recipe="web-code"))
    assert row["reasons"] == ["quality: length: too short"] and row["text"] == "<EMAIL>" and row["masked"] == ["email 1"]


def test_rows_have_the_columns_of_the_schema(tmp_path):
    "Every row, of a document or of bad input, fits the schema, and its reasons open with a known step."
    cfg = config(tmp_path, recipe="web-code")
    rows = clean_batch([item(TEXT * 9), item("short"), item(b"\0\1\2\3" * 99), Item("u", "file", reason="too large"), item("")], cfg)
    assert [r["reasons"][:1] for r in rows] == [[], ["quality: length: too short"], ["read: binary"], ["read: too large"], ["read: empty"]]
    assert all(set(r) - {"split", "key"} <= set(SCHEMA.names) and all(x.split(":")[0] in STEPS for x in r["reasons"]) for r in rows)


def test_a_library_that_fails_on_a_text_is_a_reason(tmp_path, monkeypatch):
    "An exception loses one document; a missing library stops the run."
    def broken(text): raise (RuntimeError if "bad" in text else ImportError)("no such thing")
    monkeypatch.setattr(refine, "normalise", broken)
    assert clean_batch([item("bad")], config(tmp_path))[0]["reasons"] == ["read: failed"]
    with pytest.raises(ImportError): clean_batch([item("good")], config(tmp_path))


def test_texts_to_avoid(tmp_path):
    "A quotation gets a reason and its words; a source to be avoided that cannot be read is an error."
    quiz = "Which data structure would you choose in order to merge a thousand sorted files into one?"
    (tmp_path / "quiz.txt").write_text(quiz)
    cfg = config(tmp_path, avoid=(str(tmp_path / "quiz.txt"),))
    found, clean = clean_batch([item(TEXT + quiz + TEXT), item(TEXT)], cfg)
    assert found["reasons"][0].startswith("contaminated") and "merge a thousand" in found["detail"] and not clean["reasons"]
    (tmp_path / "bad.jsonl").write_text("{")
    with pytest.raises(ValueError, match="cannot be read .bad line"): clean_batch([item(TEXT)], replace(cfg, avoid=(str(tmp_path / "bad.jsonl"),)))


@quick
@given(st.lists(st.integers(0, 50), max_size=40), st.integers(1, 100))
def test_batches_lose_nothing(sizes, limit):
    "In order, all of it; each but the last is full, and would not be without its last item."
    items = [item("x" * n, str(i)) for i, n in enumerate(sizes)]
    cut = list(batches(items, limit))
    held = [[len(i.body) for i in b] for b in cut]
    assert sum(cut, []) == items and all(sum(h) >= limit for h in held[:-1]) and all(sum(h[:-1]) < limit for h in held)


def test_many_tiny_items_make_a_batch_too():
    "No batch holds more than 4,096 items, however small."
    assert [len(b) for b in batches((item("") for _ in range(9000)), 10**9)] == [4096, 4096, 808]


@quick
@given(st.lists(st.lists(st.integers(0, 30), max_size=12), max_size=4))
def test_sources_take_turns(streams):
    "Each stream keeps its order, nothing is lost, and while all last, none is more than one item ahead."
    items = [[item("x" * n, f"{s}/{i}") for i, n in enumerate(sizes)] for s, sizes in enumerate(streams)]
    mixed = list(take_turns([iter(i) for i in items]))
    assert [[i for i in mixed if i.url.startswith(f"{s}/")] for s in range(len(items))] == items
    given, left = [0] * len(items), [len(i) for i in items]
    for i in mixed:
        s = int(i.url.split("/")[0])
        assert given[s] <= min([g for g, n in zip(given, left) if n], default=0)
        given[s], left[s] = given[s] + len(i.body) + 1, left[s] - 1


def test_the_digest_sees_everything():
    "Whatever changes in a batch, or in the libraries, changes its digest; text and equal bytes differ in nothing."
    base = Item("u", "file", "text", "text", "", "detail", dict(title="t"))
    others = [dict(url="v"), dict(source="web"), dict(body="Text"), dict(kind="html"), dict(reason="empty"), dict(detail=""), dict(meta={}), dict(body="\ud800")]
    digests = {batch_digest([base]), batch_digest([base, base]), *(batch_digest([replace(base, **o)]) for o in others)}
    assert len(digests) == len(others) + 2 and batch_digest([replace(base, body=b"text")]) == batch_digest([base])


def test_other_libraries_make_other_work(monkeypatch):
    "A shard that was cleaned with another ftfy is not taken for finished work."
    before = batch_digest([item("x")])
    monkeypatch.setattr(refine, "made_with", lambda: made_with() | dict(ftfy="0.0"))
    assert batch_digest([item("x")]) != before


def test_a_file_is_whole_or_not_there(tmp_path):
    "Whether writing fails or works, no other file is left; a failed write leaves the old contents."
    path = tmp_path / "a"
    write_whole(path, lambda part: part.write_text("old"))
    def fails(part): part.write_text("ne"); raise OSError("disk full")
    with pytest.raises(OSError, match="disk full"): write_whole(path, fails)
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


@quick
@given(st.lists(st.sampled_from([page(d) for d in documents()][:300:7] + ["", "one", "ñ " * 40]), max_size=12), st.integers(1, 3000))
def test_a_sketch_does_not_depend_on_its_pieces(texts, characters):
    "Sets and band keys are those of notebook 02c on all texts at once."
    sets, keys = sketch(texts, KIN, characters)
    whole, (bands, per) = shingle_sets(texts), choose_bands(KIN)
    assert all(np.array_equal(s, whole.hashes[a:b]) for s, a, b in zip(sets, whole.starts, whole.starts[1:])) and len(sets) == len(texts)
    assert b"".join(keys) == band_keys(minhash(whole, bands * per), bands, per).tobytes()


def test_finished_work_is_recognised(tmp_path):
    "A shard of the same batch is not made again; one that is damaged, of other input or without its shingles is."
    cfg = config(tmp_path, *(TEXT * n for n in range(1, 9)), batch_bytes=400)
    work = tmp_path / "work"
    work.mkdir()
    todo = lambda: [items is not None for _, _, items, _ in jobs(cfg, work)]
    paths = [write_batch(*job) for job in jobs(cfg, work)]
    assert len(paths) > 3 and not any(todo())
    paths[0].write_bytes(b"")
    paths[1].with_suffix(".shingles").unlink()
    pq.write_table(pq.read_table(paths[2]).replace_schema_metadata(dict(batch="other")), paths[2])
    assert todo() == [True] * 3 + [False] * (len(paths) - 3)


def test_with_a_target_sources_are_mixed(tmp_path):
    "Without a target sources follow each other; with one they take turns."
    for name in "ab": (tmp_path / f"{name}.jsonl").write_text("\n".join(json.dumps(dict(text=name * 50)) for _ in range(20)))
    order = lambda **k: "".join(i.body[0] for b in read_batches(CorpusConfig((f"{tmp_path}/a.jsonl", f"{tmp_path}/b.jsonl"), **k)) for i in b)
    assert order() == "a" * 20 + "b" * 20 and order(target_tokens=9)[:6] == "ababab"


def double(x): return 2 * x
def fails_at_three(x): return 1 // (x - 3)
def dies(x): os._exit(9)


@pytest.mark.dist
def test_two_workers_keep_the_order_and_the_window():
    "Results come in the order of the jobs; no more than two jobs a worker and one are drawn ahead."
    drawn = []
    def numbers():
        for i in range(30): drawn.append(i); yield (i,)
    for n, result in enumerate(ordered_map(double, numbers(), 2)): assert result == 2 * n and len(drawn) <= n + 1 + 2 * 2
    assert n == 29


@pytest.mark.dist
@pytest.mark.parametrize("function, error", [(fails_at_three, ZeroDivisionError), (dies, OSError)])
def test_what_goes_wrong_in_a_worker_is_heard(function, error):
    "An exception arrives as itself, a dead worker as one line with what to do."
    with pytest.raises(error) as caught: list(ordered_map(function, ((i,) for i in range(9)), 2))
    assert error is ZeroDivisionError or "--workers" in str(caught.value)
    assert not multiprocessing.active_children()


@pytest.mark.dist
@pytest.mark.posix
def test_workers_end_with_their_parent(tmp_path):
    "When the parent is killed, its workers are gone a moment later."
    (tmp_path / "run.py").write_text("""
import os, time
from minillm.refine import ordered_map
if __name__ == "__main__":
    for pid in ordered_map(os.getpid, [()]*400, 2): print(pid, flush=True); time.sleep(0.05)
""")
    child = subprocess.Popen([sys.executable, "run.py"], cwd=tmp_path, stdout=subprocess.PIPE, text=True, env=os.environ | dict(PYTHONPATH=os.getcwd()))
    pids = {int(child.stdout.readline()) for _ in range(6)}
    child.send_signal(signal.SIGKILL)
    child.communicate()
    alive = lambda pid: os.path.exists(f"/proc/{pid}/cmdline") and b"spawn_main" in open(f"/proc/{pid}/cmdline", "rb").read()
    for _ in range(100):
        if not any(map(alive, pids)): break
        time.sleep(0.1)
    assert pids and not any(map(alive, pids))
