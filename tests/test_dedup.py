"dedup: parity with datasketch and exact Jaccard, the law of the error, order independence, hostile input."
import gzip
import os
import random
import subprocess
import sys
import time
import warnings
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minillm import dedup
from minillm.dedup import (Dropped, band_keys, candidate_probability, choose_bands, components, decontaminate, deduplicate,
                           exact_duplicates, grouped_split, hash_shingles, jaccard, lsh_candidates, mark_contaminated,
                           minhash, near_duplicates, shingle_sets, shingles, words)

LAW = 1.15  # Root mean square error over the law's, parity.md week 2: 0.97 to 1.04 was seen over independent seeds
EASY_SET = 0.99  # Recall and precision on near_duplicates, the figure
Doc = namedtuple("Doc", "id text")
TEXTS = st.lists(st.text(st.sampled_from("ab <>.é日ß_ \n\tA1\u200b\ud800"), max_size=60), max_size=8)
HYPOTHESIS = settings(deadline=None, derandomize=True, max_examples=150)


def shared_data(request, name):
    root = Path(os.environ.get("MINILLM_SHARED_DATA", request.config.rootpath.parent / "shared" / "data"))
    if not (root / name).exists(): root = Path(os.path.realpath(request.config.rootpath)).parents[1] / "shared" / "data"  # a git worktree
    if not (root / name).exists(): pytest.skip(f"{name} is not in ../shared/data")
    return root / name


def docs_of(*texts): return [Doc(f"d{i}", text) for i, text in enumerate(texts)]


def corpus(n=300, seed=0, vocabulary=2000):
    "Texts of 5 to 120 made-up words with common and rare ones, and an edited twin of each."
    rng = random.Random(seed)
    vocab = [f"w{int(rng.paretovariate(0.6)) % vocabulary}" for _ in range(20_000)]
    originals = [" ".join(rng.choices(vocab, k=rng.randint(5, 120))) for _ in range(n)]
    rate = [rng.choice((0.0, 0.01, 0.03, 0.1, 0.3)) for _ in range(n)]
    return originals + [" ".join(rng.choice(vocab) if rng.random() < r else w for w in t.split()) for t, r in zip(originals, rate)]


def exact_of(texts, pairs, n=5):
    sets = [shingles(t, n) for t in texts]
    return np.array([len(sets[i] & sets[j]) / max(1, len(sets[i] | sets[j])) for i, j in pairs])


def all_pairs(texts, threshold, n=5):
    "Every pair at the threshold, by brute force."
    pairs = np.array([(i, j) for j in range(len(texts)) for i in range(j)])
    return {tuple(p) for p in pairs[exact_of(texts, pairs, n) >= threshold].tolist()}


@HYPOTHESIS
@given(TEXTS, st.integers(1, 6))
def test_numbers_are_the_strings(texts, n):
    "The vectorised shingles are as many as those of strings and equal exactly where they are, for any Unicode."
    sets, strings = shingle_sets(texts, n), [shingles(t, n) for t in texts]
    assert np.diff(sets.starts).tolist() == [len(s) for s in strings]
    hashes, starts = hash_shingles(texts, n)
    counts = [len(words(t)) for t in texts]
    assert np.diff(starts).tolist() == [max(c - n + 1, min(1, c)) for c in counts]
    grams = [" ".join(w[i:i + n]) for w in map(words, texts) for i in range(max(len(w) - n + 1, min(1, len(w))))]
    assert len(set(grams)) == len(set(hashes.tolist())) == len(set(zip(grams, hashes.tolist())))


def test_operators_are_words():
    "`a < b` and `a > b` are different texts; a planted tokenizer of \\w+ would make them one."
    opposite = docs_of("Same as a < b.", "Same as a > b.", "Same as a <= b.")
    assert len(deduplicate(opposite)[0]) == 3
    assert len({" ".join(w for w in words(d.text) if w.isalnum()) for d in opposite}) == 1


def test_a_word_that_spans_blocks_is_one_number():
    "Blocks of characters cut between words only, and a word longer than a block is hashed whole."
    long = "x" * 600_000
    for texts in ([f"a {long} b", f"a {long}y b"], [long], ["ab " * 200_000]):
        hashes, starts = hash_shingles(texts, 1)
        assert len(hashes) == sum(len(t.split()) for t in texts)
        alone = np.concatenate([hash_shingles([w], 1)[0] for t in texts for w in t.split()[:3]])
        assert set(alone.tolist()) <= set(hashes.tolist())


def test_signature_is_the_definition():
    "Each number is the smallest of a*x + b modulo 2**32 over the set, with odd a."
    sets = shingle_sets(corpus(20))
    a, b = np.random.RandomState(5).randint(0, 1 << 32, (2, 16), dtype=np.uint32)
    for i, row in enumerate(minhash(sets, 16, seed=5)[:20].tolist()):
        x = sets.hashes[sets.starts[i]:sets.starts[i + 1]].tolist()
        assert row == [min(((int(p) | 1)*v + int(q)) % 2**32 for v in x) for p, q in zip(a, b)]


@pytest.mark.parametrize("k", [16, 64, 256])
def test_error_law_and_datasketch(k, capsys):
    "The error of the estimate follows sqrt(J(1-J)/k), and so does datasketch's on the same sets."
    texts = corpus(400)
    pairs = np.stack((np.arange(400), np.arange(400, 800)), 1)
    exact, ours = exact_of(texts, pairs), []
    for seed in range(8):
        rows = minhash(shingle_sets(texts), k, seed)
        ours.append((rows[:400] == rows[400:]).mean(1) - exact)
    law = np.sqrt(np.mean(exact*(1 - exact))/k)
    ratio = np.sqrt(np.mean(np.square(ours)))/law
    assert np.abs(jaccard(shingle_sets(texts), pairs) - exact).max() < 1e-12
    datasketch = pytest.importorskip("datasketch")
    theirs = datasketch.MinHash.bulk([[s.encode() for s in shingles(t)] for t in texts], num_perm=k)
    other = np.sqrt(np.mean(np.square([theirs[i].jaccard(theirs[j]) - e for (i, j), e in zip(pairs, exact)])))/law
    with capsys.disabled(): print(f"\nMinHash, {k} permutations: error over the law {ratio:.3f} (limit {LAW}), datasketch {other:.3f}; mean error {np.mean(ours):+.4f}")
    assert 1/LAW < ratio < LAW and abs(np.mean(ours)) < 4*law/np.sqrt(8*len(exact)) + 0.1/k


def test_even_multipliers_break_the_law(monkeypatch):
    "Planted: even multipliers lose bits, and the test of the law would see it."
    texts = corpus(200)
    pairs = np.stack((np.arange(200), np.arange(200, 400)), 1)
    exact, sets = exact_of(texts, pairs), shingle_sets(texts)
    a = np.random.RandomState(0).randint(0, 1 << 8, (64, 1), dtype=np.uint32) << np.uint32(24)
    rows = np.minimum.reduceat(sets.hashes*a, sets.starts[:-1], axis=1).T
    error = np.sqrt(np.mean(((rows[:200] == rows[200:]).mean(1) - exact)**2))
    assert error > LAW*np.sqrt(np.mean(exact*(1 - exact))/64)


def test_same_pairs_as_datasketch(capsys):
    "Ours, datasketch's bulk generator and brute force keep the same pairs."
    datasketch = pytest.importorskip("datasketch")
    texts = list(dict.fromkeys(corpus(300, seed=1)))
    mine = {tuple(p) for p in near_duplicates(texts)[0].tolist()}
    lsh, found = datasketch.MinHashLSH(0.8, 128, params=choose_bands(0.8)), []
    for i, m in enumerate(datasketch.MinHash.generator(([s.encode() for s in shingles(t)] for t in texts), num_perm=128)):
        found += [(j, i) for j in lsh.query(m)]
        lsh.insert(i, m)
    theirs = {p for p, s in zip(found, exact_of(texts, found)) if s >= 0.8}
    truth = all_pairs(texts, 0.8)
    with capsys.disabled(): print(f"\npairs: true {len(truth)}, ours {len(mine & truth)}, datasketch {len(theirs & truth)}, false 0 and {len(theirs - truth)}")
    assert mine == theirs == truth and len(truth) > 30


@pytest.mark.parametrize("threshold, n", [(0.5, 1), (0.5, 5), (0.7, 3), (0.8, 5), (0.95, 2), (1.0, 5)])
def test_recall_and_precision_by_brute_force(threshold, n):
    "Every group that brute force finds is found, and no pair below the threshold is returned."
    texts = corpus(150, seed=2)
    pairs, similarity = near_duplicates(texts, threshold, n)
    truth = all_pairs(texts, threshold, n)
    assert {tuple(p) for p in pairs.tolist()} <= truth and (similarity >= threshold).all()
    assert np.abs(similarity - exact_of(texts, pairs.tolist(), n)).max(initial=0) < 1e-12
    labels = components(pairs, len(texts))
    assert np.mean([labels[i] == labels[j] for i, j in truth]) >= 0.99


@pytest.mark.parametrize("size", [100, 1000])
def test_easy_public_set(request, size, capsys):
    "On ../shared/data/near_duplicates recall and precision are 0.99 or more."
    folder = shared_data(request, "near_duplicates")
    with gzip.open(folder / f"articles_{size}.train.gz", "rt", encoding="utf-8") as f: rows = [line.split(maxsplit=1) for line in f]
    truth = {frozenset(line.split()) for line in (folder / f"articles_{size}.truth").read_text(encoding="utf-8").splitlines() if line.strip()}
    pairs, _ = near_duplicates([text for _, text in rows], threshold=0.5, n=3)
    found = {frozenset((rows[i][0], rows[j][0])) for i, j in pairs.tolist()}
    recall, precision = len(found & truth)/len(truth), len(found & truth)/max(1, len(found))
    with capsys.disabled(): print(f"\nnear_duplicates, {size} articles: recall {recall:.3f}, precision {precision:.3f} (at least {EASY_SET})")
    assert recall >= EASY_SET and precision >= EASY_SET


@pytest.mark.parametrize("n, threshold", [(5, 0.8), (3, 0.5)])
def test_dirty_crawl(n, threshold, capsys):
    "On the labelled crawl of 02b every mirror and 99 % of the copies at the threshold are found; at 0.8 hardly anything else goes."
    from minillm.clean import JUNK, dirty_crawl
    from minillm.pydocs import documents
    pages = [p for p in dirty_crawl(deduplicate(documents(skipped=[]))[0]) if p.kind not in JUNK]
    texts, source = [p.text for p in pages], {p.of: i for i, p in enumerate(pages) if p.kind == "clean"}
    planted = np.array([(source[p.of], i) for i, p in enumerate(pages) if p.kind in ("mirror", "near")])
    labels = components(near_duplicates(texts, threshold, n)[0], len(texts))
    found, near = labels[planted[:, 0]] == labels[planted[:, 1]], exact_of(texts, planted, n) >= threshold
    precision = (len(texts) - len({(label, p.of) for label, p in zip(labels.tolist(), pages)}))/(len(texts) - len(np.unique(labels)))
    with capsys.disabled(): print(f"\ndirty crawl, {n} words at {threshold}: recall {found[near].mean():.3f} of {near.sum()} at the threshold, "
                                  f"{found.mean():.3f} of all {len(planted)} copies, precision {precision:.3f}")
    assert found[near].mean() >= EASY_SET and found[[pages[i].kind == "mirror" for _, i in planted]].all()
    assert precision >= 0.98 or threshold < 0.8


@pytest.mark.parametrize("bands, rows", [(64, 2), (21, 6), (8, 16)])
def test_s_curve(bands, rows):
    "The share of pairs that become candidates is the one the curve says, within four standard errors."
    texts = corpus(600, seed=3)
    exact = exact_of(texts, [(i, i + 600) for i in range(600)])
    expected = candidate_probability(exact, bands, rows)
    shares = []
    for seed in range(4):
        keys = band_keys(minhash(shingle_sets(texts), 128, seed), bands, rows)
        shares.append((keys[:600] == keys[600:]).any(1).mean())
    assert abs(np.mean(shares) - expected.mean()) < 4*np.sqrt((expected*(1 - expected)).mean()/2400) + 0.005


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.8, 0.9, 0.99, 1.0])
@pytest.mark.parametrize("n_perm", [64, 128, 512])
def test_chosen_bands_miss_little(threshold, n_perm):
    "A pair at the threshold is found with 99 %, with no more permutations than there are, and one more row would miss more."
    bands, rows = choose_bands(threshold, n_perm)
    assert bands*rows <= n_perm and candidate_probability(threshold, bands, rows) >= 0.99
    if rows < n_perm: assert candidate_probability(threshold, n_perm//(rows + 1), rows + 1) < 0.99


def test_impossible_thresholds():
    "A threshold out of range, and one too low for the permutations, are one clear error each."
    for threshold in (0.0, -1, 1.01, float("nan")):
        with pytest.raises(ValueError, match=r"threshold \(.*\) must lie in \(0, 1\]"): choose_bands(threshold)
    with pytest.raises(ValueError, match="n_perm .16. is too small .* try 128"): choose_bands(0.05, 16)
    with pytest.raises(ValueError, match="n .0. must be at least 1"): shingle_sets(["a"], 0)


def test_candidates_are_the_buckets():
    "Without crowded buckets, the pairs are exactly those that share a band."
    keys = np.random.RandomState(0).randint(0, 60, (300, 4)).astype(np.uint32)
    naive = {(i, j) for j in range(300) for i in range(j) if (keys[i] == keys[j]).any()}
    assert {tuple(p) for p in lsh_candidates(keys).tolist()} == naive
    assert len(lsh_candidates(np.empty((0, 4), np.uint32))) == len(lsh_candidates(np.zeros((1, 4), np.uint32))) == 0


def test_crowded_buckets_stay_linear_and_connected():
    "Ten thousand texts in one bucket meet four neighbours each, and hang together; 64 texts meet all others."
    pairs = lsh_candidates(np.zeros((10_000, 3), np.uint32))
    assert len(lsh_candidates(np.zeros((64, 3), np.uint32))) == 64*63//2
    assert len(pairs) < 4*10_000 and (components(pairs, 10_000) == 0).all()


def test_ten_thousand_copies():
    "Ten thousand copies cost ten thousand pairs and a second or two, not fifty million."
    start = time.process_time()
    pairs, similarity = near_duplicates(["one two three four five six seven"]*10_000)
    assert len(pairs) == 9_999 and (similarity == 1).all() and time.process_time() - start < 5
    kept, dropped = deduplicate([Doc(f"{i:05}", "one two three four five six") for i in range(10_000)])
    assert len(kept) == 1 and {why for _, why in dropped} == {Dropped("exact duplicate", kept[0].id)}


def test_ten_thousand_near_copies():
    "A template filled in ten thousand times is one group, in linear time."
    rng = random.Random(0)
    text = " ".join(f"w{rng.randrange(9999)}" for _ in range(80))
    start = time.process_time()
    kept, dropped = deduplicate([Doc(str(i), f"{text} number{i}") for i in range(10_000)])
    assert len(kept) == 1 and len(dropped) == 9_999 and time.process_time() - start < 30


@HYPOTHESIS
@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), max_size=60))
def test_components_are_union_find(pairs):
    "The labels are the smallest member of each connected component."
    parent = list(range(41))
    def root(i):
        while parent[i] != i: i = parent[i]
        return i
    for i, j in pairs:
        a, b = sorted((root(i), root(j)))
        parent[b] = a
    assert components(np.array(pairs, np.int64), 41).tolist() == [root(i) for i in range(41)]


def test_long_chains_and_foreign_pairs():
    "A chain of 200,000 in any order is one group; a pair of a text that is not there is refused."
    for order in (np.arange(200_000), np.arange(200_000)[::-1], np.random.RandomState(1).permutation(200_000)):
        assert (components(np.stack((order[:-1], order[1:]), 1), 200_000) == 0).all()
    for bad in ([(0, 3)], [(-1, 0)]):
        with pytest.raises(ValueError, match="must be indices below n = 3"): components(bad, 3)
    assert components([], 0).tolist() == [] and components([], 2).tolist() == [0, 1]


@settings(HYPOTHESIS, max_examples=60)
@given(st.lists(st.text(st.sampled_from("ab <>.\n"), max_size=20), min_size=1, max_size=12), st.randoms(use_true_random=False))
def test_order_does_not_matter(texts, rng):
    "Shuffled input keeps the same documents and drops the rest for the same reasons."
    docs = docs_of(*texts)
    shuffled = rng.sample(docs, len(docs))
    for how in ({}, dict(threshold=0.4, n=1)):
        (kept, dropped), (again, gone) = deduplicate(docs, **how), deduplicate(shuffled, **how)
        assert {d.id for d in kept} == {d.id for d in again}
        assert {(d.id, why) for d, why in dropped} == {(d.id, why) for d, why in gone}
        assert [d for d in docs if d in kept] == kept


def test_order_does_not_matter_at_size():
    "The same with 600 texts, their edited twins and a crowd larger than a bucket's window."
    texts = corpus(300, seed=4) + [f"{' '.join(map(str, range(100, 180)))} v{i}" for i in range(200)]
    docs = docs_of(*texts)
    verdicts = lambda docs: {(d.id, why) for d, why in deduplicate(docs)[1]}
    first = verdicts(docs)
    assert {why.reason for _, why in first} == {"exact duplicate", "near duplicate"}
    for seed in range(3): assert verdicts(random.Random(seed).sample(docs, len(docs))) == first


def test_every_process_decides_the_same():
    "Verdicts, evidence, sides and signatures do not depend on the seed of Python's own hash, nor on the order of a set."
    code = """
import random
from collections import namedtuple
from minillm.dedup import *
Doc, rng = namedtuple("Doc", "id text"), random.Random(0)
texts = [" ".join(rng.choices("a b c d e < > the of".split(), k=rng.randint(0, 30))) for _ in range(300)]
docs = sorted({Doc(str(i), t) for i, t in enumerate(texts)}, key=hash)  # an order that changes with the seed
kept, dropped = deduplicate(docs, 0.5, 2)
clean, quoting = decontaminate(sorted(docs), texts[:20], n=8)
ids, said = sorted(d.id for d in docs), sorted(map(str, dropped))
print([d.id for d in sorted(kept)], said, quoting, grouped_split(ids, range(300)), minhash(shingle_sets(texts), 8).sum())
"""
    outs = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ, "PYTHONHASHSEED": seed}).stdout
            for seed in ("0", "1", "12345")]
    assert outs[0] == outs[1] == outs[2] and "near duplicate" in outs[0] and "contaminated" in outs[0]


@pytest.mark.parametrize("header", [50, 120, 250])
def test_copies_hidden_in_a_crowd(header):
    "A thousand pages share a header of 17 to 56 % of what two of them have: strangers stay apart and true copies are found, in linear time."
    rng = random.Random(0)
    vocab, m = [f"w{i}" for i in range(20_000)], 500
    top = " ".join(rng.choices(vocab, k=header))
    pages = [f"{top} " + " ".join(rng.choices(vocab, k=80)) for _ in range(m)]
    texts = pages + [f"{page} new" for page in pages]
    start = time.process_time()
    pairs, similarity = near_duplicates(texts)
    labels = components(pairs, 2*m)
    assert (labels == np.tile(np.arange(m), 2)).mean() > 0.99 and time.process_time() - start < 10


def test_families_of_a_whole_window():
    "Families of 64, where every pair is made, are the dearest buckets there are: still linear in the texts."
    rng = random.Random(0)
    def member(words_): return " ".join("edited" if i == place else w for place in [rng.randrange(100)] for i, w in enumerate(words_))
    texts = [member(base) for base in [[f"{f}-{i}" for i in range(100)] for f in range(60)] for _ in range(64)]
    start = time.process_time()
    labels = components(near_duplicates(texts)[0], len(texts))
    assert len(np.unique(labels)) == 60 and time.process_time() - start < 15


def test_a_long_set_is_signed_in_pieces():
    "The signature of a set far longer than a block is the minimum over all of it, beside empty and short ones."
    texts = [" ".join(map(str, range(30_000))), "", "a b c", " ".join(map(str, range(9_000))), ""]
    sets, (a, b) = shingle_sets(texts), np.random.RandomState(0).randint(0, 1 << 32, (2, 8, 1), dtype=np.uint32)
    rows = minhash(sets, 8)
    for i in (0, 2, 3): assert np.array_equal(rows[i], (sets.hashes[sets.starts[i]:sets.starts[i + 1]]*(a | np.uint32(1)) + b).min(1))
    assert (rows[[1, 4]] == 2**32 - 1).all() and minhash(shingle_sets([]), 8).shape == (0, 8) and minhash(shingle_sets([""]), 8).shape == (1, 8)


def test_chunks_change_nothing(monkeypatch):
    "Read in chunks of a hundred characters, the result is the same: memory is bounded, not the corpus."
    texts = corpus(100, seed=5)
    whole = near_duplicates(texts)
    chunks = dedup._chunks
    monkeypatch.setattr(dedup, "_chunks", lambda items, text_of=lambda t: t: chunks(items, text_of, 100))
    for a, b in zip(whole, near_duplicates(texts)): assert np.array_equal(a, b)


def test_streams_are_read_twice_or_refused():
    "An object that starts anew works like a list; a generator or a single string is one clear error."
    texts = corpus(30, seed=6)
    Again = type("Again", (), {"__iter__": lambda self: iter(texts)})
    assert np.array_equal(near_duplicates(Again())[0], near_duplicates(texts)[0])
    for bad in (iter(texts), (t for t in texts), "one string"):
        with pytest.raises(ValueError, match="must be readable twice"): near_duplicates(bad)


@pytest.mark.parametrize("bad", [None, 3, float("nan"), b"bytes", ["a list"]])
def test_what_is_no_string_is_named(bad):
    "A text or an id that is no string is one clear error, wherever it comes in."
    calls = [lambda: exact_duplicates(["a", bad]), lambda: near_duplicates(["a", bad]), lambda: shingle_sets(["a", bad]), lambda: words(bad),
             lambda: deduplicate(docs_of("a", bad)), lambda: deduplicate([Doc(bad, "a")]), lambda: decontaminate(docs_of("a"), [bad]),
             lambda: decontaminate(docs_of("a", bad), ["b " * 9]), lambda: grouped_split(["a", bad], [0, 1])]
    for call in calls:
        with pytest.raises(ValueError, match=rf"a text or id \({type(bad).__name__}\) must be a string"): call()


def test_every_drop_can_be_followed():
    "Each dropped document names another one; a near duplicate's is kept, and an exact one has the same text up to white space."
    docs = docs_of(*corpus(200, seed=7), "a  b", "a b", "", " \n")
    kept, dropped = deduplicate(docs)
    text, stays = {d.id: " ".join(d.text.split()) for d in docs}, {d.id for d in kept}
    for d, why in dropped:
        if why.reason == "near duplicate": assert why.of in stays and float(why.evidence.split()[-1]) >= 0.8
        elif why.reason == "exact duplicate": assert text[why.of] == text[d.id] and why.of != d.id
        else: assert why == Dropped("empty text") and not text[d.id]
    assert {why.reason for _, why in dropped} == {"near duplicate", "exact duplicate", "empty text"} and len(kept) + len(dropped) == len(docs)


def test_longest_of_a_group_stays():
    "The longest text of a group is kept; a planted rule of position would keep the first."
    base = " ".join(f"w{i}" for i in range(60))
    kept, dropped = deduplicate(docs_of(base, f"{base} more words here", f"{base} more"))
    assert [d.id for d in kept] == ["d1"] and [why.of for _, why in dropped] == ["d1", "d1"]


@pytest.mark.parametrize("texts", [[], [""], ["", ""], [" \n\t", "\u3000"], ["a"], ["a", "a", "A"], ["\ud800", "\udfff\0"], ["日本語", "日本"], ["\0" * 50]])
def test_little_or_strange_input(texts):
    "Nothing, emptiness, single words, lone surrogates and NULs give an answer, and empty texts are near to nothing."
    pairs, similarity = near_duplicates(texts)
    assert len(pairs) == len(similarity) and all(words(texts[i]) for i in pairs.ravel())
    kept, dropped = deduplicate(docs_of(*texts))
    assert len(kept) + len(dropped) == len(texts) and all(d.text.strip() for d in kept)
    assert len(exact_duplicates(texts)) == len(texts)
    assert decontaminate(docs_of(*texts), []) == (docs_of(*texts), [])


def test_a_huge_text():
    "A text of five million characters beside short ones is found again when a few of its words change."
    rng = random.Random(0)
    huge = [f"w{rng.randrange(5000)}" for _ in range(800_000)]
    texts = [" ".join(huge), "short", " ".join(["new"] + huge[:-1]), "x" * 2_000_000]
    assert near_duplicates(texts)[0].tolist() == [[0, 2]]


def test_contamination():
    "A quotation of 13 words is found wherever it stands; 12 are not enough; shorter tests are found as a whole."
    test = " ".join(f"q{i}" for i in range(30))
    quote = lambda n: "before " + " ".join(test.split()[5:5 + n]) + " after"
    docs = docs_of(quote(13), quote(12), "nothing " * 20, "say one two three four five six seven eight now", "")
    kept, dropped = decontaminate(docs, ["other words entirely " * 5, test, "one two three four five six seven eight"])
    assert [d.id for d in kept] == ["d1", "d2", "d4"] and [why.of for _, why in dropped] == ["text 1", "text 2"]
    assert all(why.evidence in " ".join(words(d.text)) for d, why in dropped)
    assert list(mark_contaminated(iter(docs), [test]))[0][1].evidence == " ".join(test.split()[5:18])
    with pytest.raises(ValueError, match=r"shortest \(9\) must lie between 1 and n = 8"): decontaminate(docs, [test], n=8, shortest=9)


@HYPOTHESIS
@given(st.lists(st.lists(st.sampled_from("abc"), max_size=12), max_size=6), st.lists(st.lists(st.sampled_from("abc"), max_size=9), max_size=3), st.integers(1, 5))
def test_contamination_is_a_common_run(pages, tests, n):
    "A page goes exactly if it holds a run of min(n, length) words of a test."
    runs = {tuple(t[i:i + min(n, len(t))]) for t in tests if t for i in range(len(t) - min(n, len(t)) + 1)}
    holds = [any(tuple(p[i:i + len(r)]) == r for r in runs for i in range(len(p))) for p in pages]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        kept, dropped = decontaminate(docs_of(*map(" ".join, pages)), [" ".join(t) for t in tests], n=n, shortest=1)
    assert [d.id in {x.id for x, _ in dropped} for d in docs_of(*pages)] == holds


def test_short_tests_are_counted():
    "Tests too short to look for are counted in one warning, never passed over in silence."
    with pytest.warns(UserWarning, match="2 of 3 texts have fewer than 8 words and are not looked for"):
        kept, dropped = decontaminate(docs_of("a b c"), ["a b c", "a", "one two three four five six seven eight nine"])
    assert len(kept) == 1 and not dropped


def test_no_pair_crosses_the_split():
    "Near copies lie on one side, whatever the seed of the corpus; a planted split by document leaks."
    leaks = 0
    for seed in range(3):
        texts = corpus(300, seed=seed)
        pairs, _ = near_duplicates(texts, 0.7)
        ids = [f"{seed}-{i}" for i in range(len(texts))]
        sides = grouped_split(ids, components(pairs, len(texts)), 0.2, 0.2)
        assert all(sides[i] == sides[j] for i, j in pairs.tolist()) and set(sides) == {"train", "val", "test"}
        alone = grouped_split(ids, np.arange(len(ids)), 0.2, 0.2)
        leaks += sum(alone[i] != alone[j] for i, j in pairs.tolist())
    assert leaks > 20


def test_split_shares_and_order():
    "The shares are as asked, every document keeps its side in any order, and others joining move nobody."
    ids = [f"doc {i}" for i in range(20_000)]
    labels = np.arange(20_000)//2
    sides = grouped_split(ids, labels, 0.1, 0.05)
    assert abs(sides.count("val")/20_000 - 0.1) < 0.012 and abs(sides.count("test")/20_000 - 0.05) < 0.01
    assert grouped_split(ids[::-1], labels[::-1], 0.1, 0.05) == sides[::-1]
    assert grouped_split(ids[:1000], labels[:1000], 0.1, 0.05) == sides[:1000]
    assert set(grouped_split(ids[:9], labels[:9], 0, 0)) == {"train"} and grouped_split([], np.array([], int)) == []


@pytest.mark.parametrize("args, words_", [((["a"], [0], 0.5, 0.5), "must be at least 0 and sum to less than 1"), ((["a"], [0], -0.1, 0.5), "val (-0.1)"),
                                          ((["a", "b"], [0], 0.1, 0.1), "ids (2) and labels (1)")])
def test_impossible_splits(args, words_):
    "Shares that do not fit, and labels of other documents, are refused."
    with pytest.raises(ValueError) as e: grouped_split(*args)
    assert words_ in str(e.value)


def test_stored_signatures_stay_comparable():
    "The signature of a fixed text never changes: stored ones can be compared with new ones."
    assert minhash(shingle_sets(["Return the absolute value of the argument."], 2), 4)[0].tolist() == [1599121899, 293683763, 1191456171, 426945338]


@pytest.mark.slow
def test_memory_is_bounded():
    "A hundred megabytes of text that are never all in memory are searched within 400 MB beyond the start."
    code = """
import random
from minillm.dedup import near_duplicates
def mb(name): return int(next(line for line in open("/proc/self/status") if line.startswith(name)).split()[1])/1024
class Shards:
    def __iter__(self):
        for shard in range(100):
            rng = random.Random(shard % 90)  # the last ten repeat the first
            vocab = [f"word{i}" for i in range(20_000)]
            for _ in range(500): yield " ".join(rng.choices(vocab, k=220))
before = mb("VmRSS")
pairs, _ = near_duplicates(Shards())
print(len(pairs), mb("VmHWM") - before)
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert int(out[0]) == 5_000 and float(out[1]) < 400, out


@pytest.mark.slow
def test_a_page_of_fifty_megabytes():
    "One text of 50 MB is searched within 1.2 GB: no table grows with permutations times words."
    code = """
from minillm.dedup import near_duplicates
text = " ".join(f"w{i}" for i in range(5_600_000))
pairs, _ = near_duplicates([text, "short", f"{text} more"])
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))  # getrusage would begin with the parent's
print(len(text), pairs.tolist(), int(peak.split()[1])/1024)
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    size, *pairs, peak = out.split()
    assert int(size) > 48e6 and "".join(pairs) == "[[0,2]]" and float(peak) < 1200, out
