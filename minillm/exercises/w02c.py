"Exercises of notebook 02c: likeness, signatures, bands, groups, quotations, and who stays."
import random

import numpy as np

from minillm.dedup import candidate_probability, components
from minillm.exercises.grading import Exercise

WORDS = "a b c d e < > return the value".split()


def exactly(got, expected) -> bool:
    "Whole numbers and lists of them, NumPy's own too, without any tolerance."
    whole = lambda x: isinstance(x, int | np.integer) and not isinstance(x, bool)
    if isinstance(expected, int): return whole(got) and got == expected
    return isinstance(got, list) and len(got) == len(expected) and all(whole(x) and x == y for x, y in zip(got, expected))


def resemblance(a, b, n):
    first, second = ({tuple(w[i:i + n]) for i in range(len(w) - n + 1)} or {tuple(w)} - {()} for w in (a, b))
    return len(first & second) / len(first | second) if first | second else 0.0


def signature(items, a, b):
    x = np.array(items, object)
    return [int(((x*p + q) % 2**32).min()) for p, q in zip(a, b)]


def bands_needed(threshold, rows, miss):
    return next(bands for bands in range(1, 10**6) if 1 - candidate_probability(threshold, bands, rows) <= miss * (1 + 1e-12))


def groups(pairs, n):
    labels = components(np.array(pairs, np.int64).reshape(-1, 2), n)
    found = [np.flatnonzero(labels == x).tolist() for x in np.unique(labels)]
    return [g for g in found if len(g) > 1]


def longest_run(a, b):
    runs = lambda w, n: {tuple(w[i:i + n]) for i in range(len(w) - n + 1)}
    return max((n for n in range(1, min(len(a), len(b)) + 1) if runs(a, n) & runs(b, n)), default=0)


def survivors(texts, labels):
    members = {label: [t for t, x in zip(texts, labels) if x == label] for label in labels}
    return sorted(min(t for t in group if len(t) == max(map(len, group))) for group in members.values())


def sentences():
    rng = random.Random(0)
    yield from (([], [], 2), (["a"], ["a"], 2), ([], ["a"], 1), (["a", "b"], ["b", "a"], 1), (["a", "b"], ["b", "a"], 2),
                (["a", "a", "a"], ["a", "a"], 2), (["a", "b", "c"], ["a", "b"], 3))
    for _ in range(24):
        a = [rng.choice(WORDS) for _ in range(rng.randint(1, 20))]
        b = [w if rng.random() < 0.8 else rng.choice(WORDS) for w in a]
        yield a, b, rng.randint(1, 5)


def tickets():
    rng = random.Random(1)
    yield from (([1], [1], [0]), ([3, 1, 2], [1], [0]), ([0], [5, 7], [2, 2**32 - 1]), ([1, 2], [2**32 - 1], [2]))
    for _ in range(24):
        k = rng.randint(1, 6)
        yield ([rng.randrange(2**32) for _ in range(rng.randint(1, 12))], [rng.randrange(1, 2**32, 2) for _ in range(k)],
               [rng.randrange(2**32) for _ in range(k)])


def curves():
    rng = random.Random(2)
    yield from ((0.5, 1, 0.5), (0.5, 1, 0.25), (0.5, 2, 0.1), (0.8, 6, 0.01))
    for _ in range(24): yield round(rng.uniform(0.3, 0.95), 3), rng.randint(1, 6), round(rng.uniform(0.001, 0.3), 4)


def graphs():
    rng = random.Random(3)
    yield from (([], 0), ([], 2), ([(0, 1)], 2), ([(2, 1), (1, 0)], 3), ([(3, 4), (0, 1), (4, 0)], 5), ([(1, 1)], 3))
    for _ in range(24):
        n = rng.randint(2, 16)
        yield [(rng.randrange(n), rng.randrange(n)) for _ in range(rng.randint(0, n))], n


def quotations():
    rng = random.Random(4)
    yield from (([], []), (["a"], []), (["a"], ["a"]), (["a", "b"], ["b", "a"]), (["a", "b", "c"], ["x", "b", "c"]), (["a"] * 3, ["a"] * 5))
    for _ in range(24):
        text = [rng.choice(WORDS) for _ in range(rng.randint(1, 24))]
        start = rng.randrange(len(text))
        yield text, [rng.choice(WORDS) for _ in range(rng.randint(0, 4))] + text[start:start + rng.randint(1, 9)]


def families():
    rng = random.Random(5)
    yield from (([], []), (["a"], [0]), (["a", "a"], [0, 1]), (["a", "b"], [0, 1]), (["b", "a"], [0, 0]), (["a", "bb"], [3, 3]), (["ab", "c", "aa"], [1, 1, 1]))
    for _ in range(24):
        n = rng.randint(1, 10)
        yield ["".join(rng.choices("abc", k=rng.randint(1, 4))) for _ in range(n)], [rng.randrange(4) for _ in range(n)]


EXERCISES = {
    1: Exercise(resemblance, sentences, [
        "Make a set of tuples from each list first; what does a list shorter than n give?",
        "What both have, divided by what either has.",
        "{tuple(w[i:i + n]) for i in range(max(len(w) - n + 1, min(1, len(w))))}, and mind the empty union.",
    ]),
    2: Exercise(signature, tickets, [
        "One number for each pair of a and b; each looks at all items.",
        "First the remainder, then the minimum: the order matters.",
        "[min((ai*x + bi) % 2**32 for x in items) for ai, bi in zip(a, b)]",
    ], exactly),
    3: Exercise(bands_needed, curves, [
        "All bands must differ for a pair to be missed.",
        "One band of r numbers differs with probability 1 - threshold**rows.",
        "The smallest whole b with (1 - threshold**rows)**b <= miss; a loop is fine.",
    ], exactly),
    4: Exercise(groups, graphs, [
        "Start with a label for each text, its own number.",
        "For each pair, everything that has the larger of the two labels takes the smaller one.",
        "Collect the members of each label, leave out those of one, and sort.",
    ]),
    5: Exercise(longest_run, quotations, [
        "For each pair of positions: how long is the common run that ends there?",
        "It is one more than the run that ends one position earlier in both, or 0 if the words differ.",
        "row = [0] + [row[j] + 1 if x == y else 0 for j, y in enumerate(b)] for each word x of a.",
    ], exactly),
    6: Exercise(survivors, families, [
        "One text for each label, whatever the order they come in.",
        "min with a key that puts long texts first, then the alphabet.",
        "min(group, key=lambda t: (-len(t), t)), and sort the result.",
    ]),
}
