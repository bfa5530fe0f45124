"""Near-duplicate removal: minillm.dedup beside datasketch and rensa, from texts to groups, CPU time of one thread.

usage: OMP_NUM_THREADS=1 RAYON_NUM_THREADS=1 python tools/bench_dedup.py [--rounds 3] [--documents 20000]

All take the same texts, words, shingles of 5 words, 128 permutations, bands and threshold, rounds interleaved, median of the
rounds. Ours verifies its candidates by true Jaccard inside its time; the peers' candidates are verified outside theirs. Cutting
texts into words and shingles is inside everyone's time; the peers take strings, and what cutting those alone costs stands in a
row of its own (the ratio in brackets is without it). Recall is the share of all pairs of Jaccard 0.8 or more whose two documents
end in one group. Two corpora: docstrings as they come, and distinct ones, where exact copies do not help us.
"""
import argparse, statistics, sys, time
from itertools import islice

import numpy as np

from course import record_bench
from minillm.dedup import (band_keys, choose_bands, components, jaccard, lsh_candidates, minhash, near_duplicates, shingle_sets,
                           shingles)
from minillm.pydocs import documents

THRESHOLD, N_PERM, BARS = 0.8, 128, {"datasketch update_batch": 3.0, "datasketch generator": 2.0}


def corpora(n: int) -> dict[str, list[str]]:
    "Docstrings of transformers and torch, in the documents' order: n as they come, n distinct ones."
    skipped = []  # a file that this Python cannot parse is not this benchmark's business
    found = documents("extended", packages=("transformers", "torch"), skipped=skipped)
    texts = [d.text for d in found if d.source.startswith("package:")]
    return {"as they come": texts[:n], "distinct": list(islice(dict.fromkeys(texts), n))}


def byte_shingles(text: str) -> list[bytes]: return [s.encode() for s in shingles(text)]


def ours(texts: list[str]) -> np.ndarray: return near_duplicates(texts, THRESHOLD, n_perm=N_PERM)[0]


def datasketch_index(minhashes) -> list[tuple[int, int]]:
    "Each document asks the index before it goes in."
    from datasketch import MinHashLSH
    lsh, pairs = MinHashLSH(THRESHOLD, N_PERM, params=choose_bands(THRESHOLD, N_PERM)), []
    for i, m in enumerate(minhashes):
        pairs += [(j, i) for j in lsh.query(m)]
        lsh.insert(i, m, check_duplication=False)
    return pairs


def datasketch_update(texts: list[str]) -> list[tuple[int, int]]:
    from datasketch import MinHash

    def one(text):
        m = MinHash(N_PERM)
        m.update_batch(byte_shingles(text))
        return m
    return datasketch_index(map(one, texts))


def datasketch_bulk(texts: list[str]) -> list[tuple[int, int]]:
    from datasketch import MinHash
    return datasketch_index(MinHash.generator(map(byte_shingles, texts), num_perm=N_PERM))


def rensa(texts: list[str]) -> list[tuple[int, int]]:
    "Rust; its bands must divide the permutations, so it uses as many as the bands fill."
    from rensa import RMinHash, RMinHashLSH
    bands, rows = choose_bands(THRESHOLD, N_PERM)
    minhashes = RMinHash.from_token_sets([list(shingles(t)) for t in texts], bands*rows, 42)
    lsh = RMinHashLSH(THRESHOLD, bands*rows, bands)
    lsh.insert_many(minhashes)
    return [(i, j) for i, found in enumerate(lsh.query_all(minhashes)) for j in found if j < i]


def strings_only(texts: list[str]) -> list: return [byte_shingles(t) for t in texts] and []


RUNS = {"minillm": ours, "shingles as strings, alone": strings_only, "datasketch update_batch": datasketch_update, "datasketch generator": datasketch_bulk, "rensa": rensa}


def true_pairs(texts: list[str], sets) -> np.ndarray:
    "Pairs of documents with words at the threshold or above; generous bands (64 of 2 rows) miss one in 1e28."
    keys, filled = band_keys(minhash(sets, N_PERM, seed=7), 64, 2), np.flatnonzero(np.diff(sets.starts))
    prints = {}
    for i in filled: prints.setdefault(sets.hashes[sets.starts[i]:sets.starts[i + 1]].tobytes(), []).append(i)
    groups = list(prints.values())
    first = np.array([g[0] for g in groups])
    pairs = lsh_candidates(keys[first], window=len(first))
    near = pairs[jaccard(sets, first[pairs]) >= THRESHOLD]
    rows = [(a, b) for i, j in near for a in groups[i] for b in groups[j]]
    rows += [(a, b) for g in groups for i, a in enumerate(g) for b in g[:i]]
    return np.array(rows)


def recall(pairs, truth, sets) -> float:
    "After verification by true Jaccard: which true pairs ended in one group?"
    pairs = np.array(pairs, np.int64).reshape(-1, 2)
    labels = components(pairs[jaccard(sets, pairs) >= THRESHOLD], len(sets.starts) - 1)
    return float((labels[truth[:, 0]] == labels[truth[:, 1]]).mean())


def compare(texts: list[str], rounds: int) -> dict:
    "Name: (CPU-seconds of each round, recall, candidates)."
    sets = shingle_sets(texts)
    truth = true_pairs(texts, sets)
    ours(texts[:500])  # warm-up
    seconds, out = {name: [] for name in RUNS}, {}
    for _ in range(rounds):
        for name, run in RUNS.items():
            start = time.process_time()
            pairs = run(texts)
            seconds[name].append(time.process_time() - start)
            out[name] = pairs
    return {name: (seconds[name], recall(out[name], truth, sets), len(out[name])) for name in RUNS}


def report(name: str, texts: list[str], rounds: int) -> list[dict]:
    "Prints the rows of one corpus and returns them. Raises: SystemExit if a peer's recall is not ours."
    found, rows = compare(texts, rounds), []
    seconds = {peer: statistics.median(row[0]) for peer, row in found.items()}
    print(f"{len(texts):,} docstrings, {name}, {sum(map(len, texts))/1e6:.1f} million characters, bands and rows {choose_bands(THRESHOLD, N_PERM)}")
    print(f"{'':28}{'CPU-s':>7}{'docs/s':>9}{'ratio':>8}{'':9}{'recall':>8}{'pairs':>10}   rounds")
    for peer, (times, reached, n_pairs) in found.items():
        ratio, cutting = seconds[peer]/seconds["minillm"], peer == "shingles as strings, alone"
        bare = (seconds[peer] - seconds["shingles as strings, alone"])/seconds["minillm"]
        rest = "" if cutting else f"{f'({bare:.1f})' if peer != 'minillm' else '':>9}{reached:8.4f}{n_pairs:10,}"
        print(f"{peer:28}{seconds[peer]:7.2f}{len(texts)/seconds[peer]:9.0f}{ratio:8.2f}{rest:27}   {[round(s, 2) for s in times]}", flush=True)
        if not cutting and reached < found["minillm"][1] - 1e-3: raise SystemExit(f"{peer}, {name}: recall {reached:.4f} is not ours")
        if not cutting and peer != "minillm":
            rows.append(dict(what=f"near-duplicates of {len(texts):,} docstrings, {name}, without the peer's cutting of strings", peer=peer, ours=len(texts)/seconds["minillm"],
                             theirs=len(texts)/(seconds[peer] - seconds["shingles as strings, alone"]), unit="documents/s", ratio=bare, bar=BARS.get(peer)))
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--documents", type=int, default=20_000)
    args = parser.parse_args()
    return record_bench("duplicates", [row for name, texts in corpora(args.documents).items() for row in report(name, texts, args.rounds)])


if __name__ == "__main__": sys.exit(main())
