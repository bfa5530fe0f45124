"The graders of notebook 03a reject planted mistakes and accept right answers written anew."
import pytest

from minillm.exercises.grading import find, verdict


def pair_counts(counts):
    pairs = {}
    for piece, n in counts.items():
        for a, b in zip(piece, piece[1:]): pairs[a + b] = pairs.get(a + b, 0) + n
    return pairs


def merge_at(ids, pair, new, step=2):
    out, i = [], 0
    while i < len(ids):
        if tuple(ids[i:i + 2]) == pair: out.append(new); i += step
        else: out.append(ids[i]); i += 1
    return out


def incremental(chunks):
    import codecs
    decoder = codecs.getincrementaldecoder("utf-8")()
    return [decoder.decode(c) for c in chunks]


def replay(text, merges, pick=min):
    word = list(text)
    while True:
        found = [(merges.index(p), i) for i, p in enumerate(zip(word, word[1:])) if p in merges]
        if not found: return word
        i = pick(found)[1]
        word[i:i + 2] = ["".join(word[i:i + 2])]


def longest_match(text, merges):
    tokens, out = {"".join(p) for p in merges}, []
    while text:
        token = max([t for t in tokens if text.startswith(t)], key=len, default=text[0])
        out.append(token)
        text = text[len(token):]
    return out


def once_each(text, merges):
    word = list(text)
    for pair in merges:
        pairs = list(zip(word, word[1:]))
        if pair in pairs: word[pairs.index(pair):pairs.index(pair) + 2] = ["".join(pair)]
    return word


def by_recursion(text, vocab):
    from functools import lru_cache

    @lru_cache
    def rest(i):
        if i == len(text): return 0
        found = [rest(i + len(t)) for t in vocab if t and text.startswith(t, i)]
        return min((n + 1 for n in found if n is not None), default=None)
    return rest(0)


def longest_first(text, vocab):
    n = 0
    while text:
        found = [t for t in vocab if text.startswith(t)]
        if not found: return None
        text, n = text[len(max(found, key=len)):], n + 1
    return n


RIGHT = {
    1: lambda text: sum(1 if c < "\x80" else 2 if c < "\u0800" else 3 if c < "\U00010000" else 4 for c in text),
    2: lambda counts: min((p for p, n in pair_counts(counts).items() if n == max(pair_counts(counts).values())), default=None),
    3: merge_at,
    4: replay,
    5: incremental,
    6: by_recursion,
}
WRONG = {
    1: [len, lambda t: sum(1 + (ord(c) > 127) for c in t),  # every other script alike
        lambda t: sum(1 + (ord(c) > 0x7f) + (ord(c) > 0x7ff) for c in t),  # emoji forgotten
        lambda t: sum(1 + (ord(c) > 0xff) + (ord(c) > 0x7ff) + (ord(c) > 0xffff) for c in t)],  # Latin-1 in one byte
    2: [lambda c: max(pair_counts(c), key=pair_counts(c).get, default=None),  # ties by order of appearance
        lambda c: max(pair_counts(c), key=lambda p: (pair_counts(c)[p], p), default=None),  # the largest of equals
        lambda c: min(pair_counts(dict.fromkeys(c, 1)), key=lambda p: (-pair_counts(dict.fromkeys(c, 1))[p], p), default=None),  # counts ignored
        lambda c: min(pair_counts(c), key=lambda p: (-pair_counts(c)[p], p))],  # nothing to pair
    3: [lambda ids, pair, new: merge_at(ids, pair, new, 1),  # the second one stays
        lambda ids, pair, new: merge_at(ids[::-1], pair[::-1], new)[::-1],  # from the right
        lambda ids, pair, new: ids.__setitem__(slice(0, 2), [new]) or ids if tuple(ids[:2]) == pair else ids,  # in place, first only
        lambda ids, pair, new: [new if tuple(ids[i:i + 2]) == pair else x for i, x in enumerate(ids)]],  # nothing removed
    4: [longest_match, once_each, lambda t, m: replay(t, m, max),  # the last learned first
        lambda t, m: replay(t, m, lambda found: min(found, key=lambda f: (f[0], -f[1])))],  # the rightmost of equals
    5: [lambda chunks: [c.decode("utf-8", "replace") for c in chunks],  # each on its own
        lambda chunks: [c.decode("utf-8", "ignore") for c in chunks],
        lambda chunks: [*[""]*(len(chunks) - 1), b"".join(chunks).decode()] if chunks else [],  # all at the end
        lambda chunks: [b"".join(chunks[:i + 1]).decode("utf-8", "ignore") for i in range(len(chunks))]],  # all again
    6: [longest_first, lambda text, vocab: by_recursion(text, vocab) or 0,  # impossible is not free
        lambda text, vocab: by_recursion(text, vocab) or None,  # nothing to spell takes no token
        lambda text, vocab: by_recursion(text, vocab | set(text))],  # letters that are no tokens
}


@pytest.mark.parametrize("number", RIGHT)
def test_a_right_answer_is_accepted(number):
    "An independent solution passes."
    assert verdict(find(f"03a.{number}"), RIGHT[number]) == (True, "right")


@pytest.mark.parametrize("number, index", [(k, i) for k, answers in WRONG.items() for i in range(len(answers))])
def test_a_planted_mistake_is_rejected(number, index):
    "Each plausible mistake fails on some input."
    right, words = verdict(find(f"03a.{number}"), WRONG[number][index])
    assert not right and "expected" in words


@pytest.mark.parametrize("number", RIGHT)
def test_a_grader_has_inputs_and_hints(number):
    "At least twenty inputs, the same at each call, and three hints."
    exercise = find(f"03a.{number}")
    assert len(list(exercise.cases())) >= 20 and list(exercise.cases()) == list(exercise.cases())
    assert len(exercise.hints) == 3


@pytest.mark.parametrize("number", RIGHT)
def test_a_blank_is_not_a_mistake(number):
    "An unsolved exercise says so."
    assert verdict(find(f"03a.{number}"), lambda *_: ...) == (False, "not attempted yet")
