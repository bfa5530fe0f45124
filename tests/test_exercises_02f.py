"The graders of notebook 02f reject planted mistakes and accept right answers written anew."
from collections import Counter

import pytest

from minillm.exercises.grading import find, verdict


def stay(lengths, keys, groups):
    rows = list(enumerate(zip(groups, lengths, keys)))
    return [i for i, (g, n, k) in rows if all(h != g or (m, -other) <= (n, -k) for _, (h, m, other) in rows)]


def shards(sizes, limit, full=lambda held, limit: held >= limit):
    out, row = [], []
    for size in sizes:
        row.append(size)
        if full(sum(row), limit): out.append(len(row)); row = []
    return out + [len(row)] * bool(row)


def target(tokens, keep, goal):
    taken = [i for i, good in enumerate(keep) if good]
    return [i for n, i in enumerate(taken) if not goal or sum(tokens[j] for j in taken[:n]) < goal]


def sides(own, groups, order=("test", "val", "train")):
    def of(group): return next((s for s in order if (s, group) in set(zip(own, groups))), "train")
    return [side or of(group) for side, group in zip(own, groups)]


def recall(groups, kept):
    should = gone = 0
    for group in set(groups):
        members = [k for g, k in zip(groups, kept) if g == group]
        should += len(members) - 1
        gone += min(len(members) - 1, members.count(False))
    return gone / should if should else 1.0


RIGHT = {1: stay, 2: shards, 3: target, 4: sides, 5: recall}
WRONG = {
    1: [lambda n, k, g: sorted({h: i for i, h in enumerate(g)}.values()),  # the last one
        lambda n, k, g: stay([1] * len(g), k, g),  # the key alone
        lambda n, k, g: stay(n, [-x for x in k], g),  # the largest key
        lambda n, k, g: stay([-x for x in n], k, g)],  # the shortest
    2: [lambda s, n: shards(s, n, lambda held, limit: held > limit),  # only when above
        lambda s, n: shards(s, n)[:-1],  # the last file forgotten
        lambda s, n: [*shards(s, n), 0]],  # an empty file
    3: [lambda t, k, g: [i for i, good in enumerate(k) if good and (not g or sum(t[:i + 1]) <= g)],  # not the one that crosses
        lambda t, k, g: target(t, k, g) if g else [],  # 0 taken literally
        lambda t, k, g: [i for i, good in enumerate(k) if good and (not g or sum(t[:i]) < g)],  # all rows use the target up
        lambda t, k, g: target(t, [True] * len(k), g)],  # reasons ignored
    4: [lambda o, g: [s or "train" for s in o],  # everyone for itself
        lambda o, g: sides(o, g, ("train", "val", "test")),  # the mildest
        lambda o, g: [sides(["", *o], [h, *g])[0] for h in g]],  # own sides overruled
    5: [lambda g, k: k.count(False) / max(1, len(g) - len(set(g))),  # whole groups count
        lambda g, k: k.count(False) / len(g),  # of all documents
        lambda g, k: recall(g, k) if len(g) > len(set(g)) else 0.0,  # nothing to do is no failure
        lambda g, k: 1 - sum(n > 1 for n in Counter(x for x, y in zip(g, k) if y).values()) / max(1, len(set(g)))],  # groups, not documents
}


@pytest.mark.parametrize("number", RIGHT)
def test_a_right_answer_passes(number):
    "An answer written independently of the reference passes."
    assert verdict(find(f"02f.{number}"), RIGHT[number]) == (True, "right")


@pytest.mark.parametrize("number, index", [(k, i) for k, answers in WRONG.items() for i in range(len(answers))])
def test_a_planted_mistake_is_rejected(number, index):
    "Each plausible mistake fails on some input."
    right, words = verdict(find(f"02f.{number}"), WRONG[number][index])
    assert not right and "expected" in words


@pytest.mark.parametrize("number", RIGHT)
def test_a_grader_has_inputs_and_hints(number):
    "At least twenty inputs, the same at each call, and three hints."
    exercise = find(f"02f.{number}")
    assert len(list(exercise.cases())) >= 20 and list(exercise.cases()) == list(exercise.cases())
    assert len(exercise.hints) == 3


@pytest.mark.parametrize("number", RIGHT)
def test_a_blank_is_not_a_mistake(number):
    "An unsolved exercise says so."
    assert verdict(find(f"02f.{number}"), lambda *_: ...) == (False, "not attempted yet")
