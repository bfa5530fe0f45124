"""Training and encoding of minillm.bpe beside Hugging Face's tokenizers (Rust), on 10 MB of the standard library's source, CPU time of one thread.

usage: RAYON_NUM_THREADS=1 python tools/bench_bpe.py [--rounds 3] [--pattern gpt4]

Both take the same texts and cut them by the same expression, rounds interleaved, median of the rounds' ratios. Merges and ids
must be equal. Encoding goes file by file with an empty cache, with 50,000 tokens. The naive trainer, which counts all pairs
anew for each merge, is extrapolated from its first 50 merges.
"""
import argparse, json, os, statistics, sys, sysconfig, time
from collections import Counter
from itertools import chain
from pathlib import Path

os.environ["RAYON_NUM_THREADS"] = "1"  # before tokenizers is imported

from tokenizers import Regex, models, pre_tokenizers, trainers
from tokenizers import Tokenizer as HFTokenizer

from course import record_bench
from minillm.bpe import BYTE_ORDER, PATTERNS, pretokenize, train_bpe
from minillm.pydocs import source_files

SIZE, TRAIN, ENCODE, FIRST = 10_000_000, 8192, 50_000, 50
BARS = {"train": (1.5, 1.0), "encode": (3.0, 3.0)}  # ours over theirs, at most (bar, goal); theirs over ours, at least


def texts_of(size: int) -> list[str]:
    "The standard library's source files, in order, until they hold so many bytes."
    texts, n = [], 0
    for _, path in source_files(Path(sysconfig.get_path("stdlib"))):
        try: text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError: continue  # a test file in another encoding
        texts.append(text)
        n += len(text.encode())
        if n >= size: break
    return texts


def theirs_new(pattern: str) -> HFTokenizer:
    split = pre_tokenizers.Split(Regex(PATTERNS[pattern]), "isolated")
    bytes_only = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    built_in = pre_tokenizers.ByteLevel(add_prefix_space=False)  # GPT-2's expression, as fast as they have it
    tokenizer = HFTokenizer(models.BPE())
    tokenizer.pre_tokenizer = built_in if pattern == "gpt2" else pre_tokenizers.Sequence([split, bytes_only])
    return tokenizer


def theirs_train(texts: list[str], vocab_size: int, pattern: str) -> HFTokenizer:
    tokenizer = theirs_new(pattern)
    tokenizer.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=vocab_size, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    return tokenizer


def merges_of(tokenizer: HFTokenizer) -> list[tuple[int, int]]:
    model = json.loads(tokenizer.to_str())["model"]
    return [(model["vocab"][a], model["vocab"][b]) for a, b in model["merges"]]


def seconds(f, *args):
    start = time.process_time()
    out = f(*args)
    return time.process_time() - start, out


def naive_merges(words: dict, n: int) -> list[tuple[int, int]]:
    "The first n merges, all pairs of all distinct pieces counted anew for each."
    merges = []
    for new in range(256, 256 + n):
        pairs = Counter()
        for word, times in words.items():
            for pair in zip(word, word[1:]): pairs[pair] += times
        a, b = best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merged = {}
        for word, times in words.items():
            out = []
            for token in word:
                if out and out[-1] == a and token == b: out[-1] = new
                else: out.append(token)
            merged[tuple(out)] = times
        words = merged
        merges.append(best)
    return merges


def naive(texts: list[str], pattern: str, n: int) -> tuple[float, float, list]:
    "(seconds for cutting and counting the pieces, seconds for n merges, the merges)."
    byte_id = {b: i for i, b in enumerate(BYTE_ORDER)}
    count_s, counts = seconds(lambda: Counter(chain.from_iterable(pretokenize(text, pattern) for text in texts)))
    words = {tuple(byte_id[b] for b in piece.encode()): times for piece, times in counts.items()}
    return count_s, *seconds(naive_merges, words, n)


def compare_training(texts: list[str], pattern: str, rounds: int):
    "(seconds of ours, of theirs, our merges)."
    ours_s, theirs_s = [], []
    for k in range(rounds):
        s, ours = seconds(train_bpe, texts, TRAIN, (), pattern)
        ours_s.append(s)
        s, theirs = seconds(theirs_train, texts, TRAIN, pattern)
        theirs_s.append(s)
    if ours.merges != merges_of(theirs): raise SystemExit(f"{pattern}: the merges differ")
    return ours_s, theirs_s, ours.merges


def compare_encoding(texts: list[str], pattern: str, rounds: int):
    "{who: seconds of each round}; caches empty at the start of each."
    ours, saved = train_bpe(texts, ENCODE, pattern=pattern), theirs_train(texts, ENCODE, pattern).to_str()
    found = {"minillm": [], "tokenizers encode": [], "tokenizers encode_batch_fast": []}
    for k in range(rounds):
        ours.pieces.clear()
        s, mine = seconds(lambda: [ours.encode(text) for text in texts])
        found["minillm"].append(s)
        theirs = HFTokenizer.from_str(saved)
        s, expected = seconds(lambda theirs: [theirs.encode(text).ids for text in texts], theirs)
        found["tokenizers encode"].append(s)
        theirs = HFTokenizer.from_str(saved)
        s, fast = seconds(lambda theirs: [e.ids for e in theirs.encode_batch_fast(texts)], theirs)
        found["tokenizers encode_batch_fast"].append(s)
        if not mine == expected == fast: raise SystemExit(f"{pattern}: the ids differ")
    return found, sum(map(len, mine))


def row(name: str, times: list[float], ratio: float | None, more: str = ""):
    shown = f"{ratio:8.2f}" if ratio else f"{'':8}"
    print(f"{name:32}{statistics.median(times):9.2f} s{shown}   rounds {[round(s, 2) for s in times]} {more}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--pattern", choices=list(PATTERNS), action="append")
    args = parser.parse_args()
    texts, rows = texts_of(SIZE), []
    megabytes = sum(len(text.encode()) for text in texts) / 1e6
    print(f"{len(texts):,} files, {megabytes:.2f} MB; CPU-seconds, median of {args.rounds} interleaved rounds")
    for pattern in args.pattern or PATTERNS:
        ours, theirs, merges = compare_training(texts, pattern, args.rounds)
        ratio = statistics.median(a / b for a, b in zip(ours, theirs))
        print(f"-- {pattern}: training, {TRAIN:,} tokens, merges equal; ratio is ours over theirs (bar {BARS['train'][0]}, goal {BARS['train'][1]})")
        row("minillm", ours, ratio)
        row("tokenizers", theirs, None)
        rows.append(dict(what=f"training a tokenizer of {TRAIN:,}, {pattern}'s cutting, {megabytes:.0f} MB", peer="tokenizers (Rust)", ours=megabytes / statistics.median(ours),
                         theirs=megabytes / statistics.median(theirs), unit="MB/s", ratio=1 / ratio, bar=1 / BARS["train"][0]))
        count_s, naive_s, first = naive(texts, pattern, FIRST)
        if first != merges[:FIRST]: raise SystemExit(f"{pattern}: the naive merges differ")
        whole = count_s + naive_s / FIRST * len(merges)
        row("naive recount, extrapolated", [whole], whole / statistics.median(ours), f"from {naive_s:.1f} s for its first {FIRST} merges and {count_s:.1f} s of counting pieces")
        found, n_ids = compare_encoding(texts, pattern, args.rounds)
        print(f"-- {pattern}: encoding, {ENCODE:,} tokens, {n_ids:,} ids equal, cold cache; ratio is theirs over ours (bar {BARS['encode'][0]} for encode)")
        for name, times in found.items():
            ratio = None if name == "minillm" else statistics.median(b / a for a, b in zip(found["minillm"], times))
            row(name, times, ratio, f"{megabytes / statistics.median(times):.1f} MB/s")
            if ratio: rows.append(dict(what=f"encoding {megabytes:.0f} MB, {ENCODE:,} tokens, {pattern}'s cutting", peer=name, ours=megabytes / statistics.median(found["minillm"]),
                                       theirs=megabytes / statistics.median(times), unit="MB/s", ratio=ratio, bar=BARS["encode"][0] if name == "tokenizers encode" else None))
    return record_bench("tokenizer", rows)


if __name__ == "__main__": sys.exit(main())
