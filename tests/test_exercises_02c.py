"The graders of notebook 02c reject planted mistakes and accept right answers written anew."
import math

import pytest

from minillm.exercises.grading import find, verdict


def cut(w, n): return {" ".join(w[i:i + n]) for i in range(len(w) - n + 1)} or ({" ".join(w)} if w else set())


def chains(pairs, n):
    near = {i: {i} for i in range(n)}
    for i, j in pairs:
        both = near[i] | near[j]
        for k in both: near[k] = both
    return sorted({tuple(sorted(g)) for g in near.values() if len(g) > 1})


def quoted(a, b):
    best = 0
    for i in range(len(a)):
        for j in range(len(b)):
            k = 0
            while i + k < len(a) and j + k < len(b) and a[i + k] == b[j + k]: k += 1
            best = max(best, k)
    return best


def staying(texts, labels, key=lambda t: (-len(t), t)):
    return sorted(min((t for t, x in zip(texts, labels) if x == label), key=key) for label in set(labels))


def signed(items, a, b): return [sorted((p*x + q) & (2**32 - 1) for x in items)[0] for p, q in zip(a, b)]


RIGHT = {
    1: lambda a, b, n: 0 if not a and not b else len(cut(a, n) & cut(b, n))/len(cut(a, n) | cut(b, n)),
    2: signed,
    3: lambda t, r, miss: max(1, math.ceil(math.log(miss)/math.log(1 - t**r) - 1e-9)),
    4: lambda pairs, n: [list(g) for g in chains(pairs, n)],
    5: quoted,
    6: staying,
}
WRONG = {
    1: [lambda a, b, n: len(cut(a, n) & cut(b, n))/max(1, min(len(cut(a, n)), len(cut(b, n)))),  # containment
        lambda a, b, n: len(set(a) & set(b))/max(1, len(set(a) | set(b))),  # words, not shingles
        lambda a, b, n: RIGHT[1](a, b, n) if len(a) >= n and len(b) >= n else 0,  # short lists have none
        lambda a, b, n: 1 if a == b else RIGHT[1](a, b, n)],  # two empty lists are equal
    2: [lambda items, a, b: [max((p*x + q) % 2**32 for x in items) for p, q in zip(a, b)],  # the largest
        lambda items, a, b: [min(p*x + q for x in items) % 2**32 for p, q in zip(a, b)],  # remainder too late
        lambda items, a, b: [min(p*(x + q) % 2**32 for x in items) for p, q in zip(a, b)],  # brackets
        lambda items, a, b: [min((p*x + q) % (2**32 - 1) for x in items) for p, q in zip(a, b)]],  # another modulus
    3: [lambda t, r, miss: RIGHT[3](t, r, miss) + 1,  # one too many
        lambda t, r, miss: max(1, math.floor(math.log(miss)/math.log(1 - t**r))),  # rounded down
        lambda t, r, miss: max(1, math.ceil(math.log(1 - miss)/math.log(1 - t**r))),  # missed and found exchanged
        lambda t, r, miss: max(1, math.ceil(math.log(miss)/math.log(1 - t)))],  # rows forgotten
    4: [lambda pairs, n: sorted({tuple(sorted(p)) for p in pairs}),  # pairs, not groups
        lambda pairs, n: [list(g) for g in chains(pairs, n)] + [[i] for i in range(n) if all(i not in p for p in pairs)],  # singles
        lambda pairs, n: [list(g) for g in chains(pairs, n)][::-1],  # not sorted
        lambda pairs, n: [list(g) for g in chains(pairs[:-1], n)]],  # the last pair forgotten
    5: [lambda a, b: len(set(a) & set(b)),  # words in common
        lambda a, b: max(0, quoted(a, b) - 1),  # one too few
        lambda a, b: quoted(a[:1] + a, b),  # the first word twice
        lambda a, b: next((k for k in range(min(len(a), len(b)), 0, -1) if a[:k] == b[:k]), 0)],  # only at the start
    6: [lambda texts, labels: staying(texts, labels, key=len),  # the shortest
        lambda texts, labels: staying(texts, labels, key=lambda t: -len(t)),  # the first of equals in the input
        lambda texts, labels: sorted({label: t for t, label in zip(texts, labels)}.values()),  # the last
        lambda texts, labels: sorted(set(staying(texts, labels)))],  # groups with equal texts become one
}


@pytest.mark.parametrize("number", RIGHT)
def test_a_right_answer_is_accepted(number):
    "An independent solution passes."
    assert verdict(find(f"02c.{number}"), RIGHT[number]) == (True, "right")


@pytest.mark.parametrize("number, index", [(k, i) for k, answers in WRONG.items() for i in range(len(answers))])
def test_a_planted_mistake_is_rejected(number, index):
    "Each plausible mistake fails on some input."
    right, words = verdict(find(f"02c.{number}"), WRONG[number][index])
    assert not right and "expected" in words


@pytest.mark.parametrize("number", RIGHT)
def test_a_grader_has_inputs_and_hints(number):
    "At least twenty inputs, the same at each call, and three hints."
    exercise = find(f"02c.{number}")
    assert len(list(exercise.cases())) >= 20 and list(exercise.cases()) == list(exercise.cases())
    assert len(exercise.hints) == 3


@pytest.mark.parametrize("number", RIGHT)
def test_a_blank_is_not_a_mistake(number):
    "An unsolved exercise says so."
    assert verdict(find(f"02c.{number}"), lambda *_: ...) == (False, "not attempted yet")
