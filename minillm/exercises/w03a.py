"Exercises of notebook 03a: bytes, pairs, merges, encoding, a stream of tokens, the fewest tokens."
import random

from minillm.exercises.grading import Exercise


def utf8_bytes(text):
    return len(text.encode())


def most_frequent_pair(counts):
    pairs = {}
    for piece, n in counts.items():
        for i in range(len(piece) - 1): pairs[piece[i:i + 2]] = pairs.get(piece[i:i + 2], 0) + n
    return min(pairs, key=lambda pair: (-pairs[pair], pair)) if pairs else None


def merge(ids, pair, new):
    out = []
    for i in ids:
        if out and (out[-1], i) == pair and out[-1] is not new: out[-1] = new
        else: out.append(i)
    return out


def bpe(text, merges):
    word = list(text)
    while True:
        pairs = list(zip(word, word[1:]))
        best = min((p for p in pairs if p in merges), key=merges.index, default=None)
        if best is None: return word
        i = pairs.index(best)
        word[i:i + 2] = ["".join(best)]


def decode_stream(chunks):
    out, shown, data = [], 0, b""
    for chunk in chunks:
        data += chunk
        end = len(data)
        while end > shown:
            try: data[shown:end].decode()
            except UnicodeDecodeError: end -= 1
            else: break
        out.append(data[shown:end].decode())
        shown = end
    return out


def fewest(text, vocab):
    ends, n = {0}, 0
    while len(text) not in ends:
        reached = ends | {i + len(token) for i in ends for token in vocab if token and text.startswith(token, i)}
        if reached == ends: return None
        ends, n = reached, n + 1
    return n


def texts():
    rng = random.Random(0)
    yield from (("",), ("a",), ("\x7f",), ("\x80",), ("ñ",), ("\u07ff",), ("\u0800",), ("☕",), ("\uffff",), ("\U00010000",), ("👩‍👧",))
    for _ in range(14): yield ("".join(rng.choices("ab ñмать母☕👩\u07ff\u0800", k=rng.randint(2, 12))),)


def counters():
    rng = random.Random(1)
    yield from (({},), ({"a": 3},), ({"ab": 1},), ({"ba": 1, "ab": 1},), ({"aaa": 1, "bc": 1, "cb": 1},), ({"ab": 1, "bc": 3},), ({"aaa": 1, "bb": 2},))
    for _ in range(20):
        yield ({"".join(rng.choices("abc", k=rng.randint(1, 5))): rng.randint(1, 4) for _ in range(rng.randint(1, 5))},)


def sequences():
    rng = random.Random(2)
    yield from (([], (1, 2), 9), ([1], (1, 2), 9), ([1, 2], (1, 2), 9), ([1, 1, 1], (1, 1), 9), ([1, 1, 1, 1], (1, 1), 9), ([2, 1, 2, 1], (1, 2), 9))
    for _ in range(20): yield rng.choices((1, 2, 3), k=rng.randint(3, 12)), (rng.randint(1, 3), rng.randint(1, 3)), 9


def rules():
    rng = random.Random(3)
    yield from (("", []), ("ab", []), ("ab", [("a", "b")]), ("abc", [("b", "c"), ("a", "b")]), ("abc", [("b", "c"), ("a", "b"), ("a", "bc")]),
                ("aaa", [("a", "a"), ("aa", "a")]), ("abab", [("a", "b"), ("ab", "a"), ("ab", "ab")]))
    for _ in range(24):
        tokens, merges = list("abc"), []
        for _ in range(rng.randint(3, 9)):
            pair = rng.choice(tokens), rng.choice(tokens)
            if pair in merges or "".join(pair) in tokens: continue
            merges.append(pair)
            tokens.append("".join(pair))
        yield "".join(rng.choices("abc", k=rng.randint(3, 14))), merges


def streams():
    rng = random.Random(4)
    yield from (([],), ([b"a"],), (["ñ".encode()],), ([b"\xc3", b"\xb1"],), ([b"a\xc3", b"\xb1b"],), ([b"\xe2", b"\x98", b"\x95"],), ([b"", b"x"],))
    for _ in range(20):
        data, chunks = "".join(rng.choices("ab ñ☕👩", k=rng.randint(2, 9))).encode(), []
        while data:
            n = rng.randint(1, 3)
            chunks.append(data[:n])
            data = data[n:]
        yield (chunks,)


def puzzles():
    rng = random.Random(5)
    yield from (("", {"a"}), ("a", {"a"}), ("a", {"b"}), ("ab", {"a", "b"}), ("ab", {"a", "b", "ab"}), ("aab", {"aa", "a", "ab"}), ("ab", {"aa", "a"}),
                ("abcd", {"a", "b", "c", "d", "abc", "bcd", "cd", "ab"}), ("aaaaa", {"aa", "aaa", "aaaa"}))
    for _ in range(20):
        vocab = {"".join(rng.choices("ab", k=rng.randint(1, 4))) for _ in range(rng.randint(2, 6))}
        yield "".join(rng.choices("ab", k=rng.randint(3, 12))), vocab


EXERCISES = {
    1: Exercise(utf8_bytes, texts, [
        "One number for each character, then their sum.",
        "Comparisons are 0 or 1: how many of the three limits does ord(c) exceed?",
        "sum(1 + (ord(c) > 0x7f) + (ord(c) > 0x7ff) + (ord(c) > 0xffff) for c in text).",
    ]),
    2: Exercise(most_frequent_pair, counters, [
        "A piece that occurs n times adds n to each of its pairs.",
        "zip(piece, piece[1:]) gives the pairs, overlapping ones included.",
        "min(pairs, key=lambda pair: (-pairs[pair], pair), default=None).",
    ]),
    3: Exercise(merge, sequences, [
        "Walk with an index that moves by two after a match and by one otherwise.",
        "[1, 1, 1] with the pair (1, 1) is [9, 1].",
        "Compare tuple(ids[i:i + 2]) with the pair; write into a new list, the input must stay.",
    ]),
    4: Exercise(bpe, rules, [
        "After each merge look at all pairs again: new ones have appeared.",
        "Of all pairs that are in `merges`, the one that stands first there; of its occurrences the leftmost.",
        "min((rank, place)) over the pairs found, then word[i:i + 2] = [word[i] + word[i + 1]].",
    ]),
    5: Exercise(decode_stream, streams, [
        "Keep the bytes that do not yet make a character for the next call.",
        "A character is complete as soon as its last byte is there: b'a\\xc3' shows 'a' at once.",
        "codecs.getincrementaldecoder('utf-8')() keeps the rest for you.",
    ]),
    6: Exercise(fewest, puzzles, [
        "The best way to spell the first n characters ends with some token; what stands before it is a shorter problem.",
        "best[end] = 1 + the least best[start] over all start where text[start:end] is a token; best[0] = 0.",
        "Places that cannot be reached stay None and must not be built upon; with nothing to spell the answer is 0.",
    ]),
}
