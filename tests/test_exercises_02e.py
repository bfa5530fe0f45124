"The graders of notebook 02e reject planted mistakes and accept right answers written anew."
import itertools

import pytest

from minillm.exercises.grading import find, verdict


def cheapest(costs, passes):  # by trying all orders of those that remove something
    def bill(order):
        total, share = 0.0, 1.0
        for i in order: total, share = total + share * costs[i], share * passes[i]
        return total
    remove = [i for i, p in enumerate(passes) if p < 1]
    best = min(itertools.permutations(remove), key=lambda order: (round(bill(order), 9), order))
    return [*best, *(i for i, p in enumerate(passes) if p >= 1)]


def steps(rows):
    first = [reasons[0].split(":")[0] for reasons in rows if reasons]
    return {step: first.count(step) for step in first}


def cuts(sizes, limit, full=lambda held, limit: held >= limit, rest=True):
    out, batch = [], []
    for size in sizes:
        batch.append(size)
        if full(sum(batch), limit): out.append(len(batch)); batch = []
    return out + [len(batch)] if batch and rest else out


def pool(times, workers, ordered=True):
    free, ends = [0.0] * workers, []
    for t in times:
        i = min(range(workers), key=free.__getitem__)
        free[i] += t
        ends.append(free[i])
    return list(itertools.accumulate(ends, max)) if ordered else ends


RIGHT = {1: cheapest, 2: steps, 3: cuts, 4: lambda b, s: [n for n in range(len(b)) if n not in s or s[n] != b[n]], 5: pool}
WRONG = {
    1: [lambda c, p: sorted(range(len(c)), key=lambda i: c[i]),  # by cost alone
        lambda c, p: sorted(range(len(c)), key=lambda i: p[i]),  # by share alone
        lambda c, p: sorted(range(len(c)), key=lambda i: c[i] * p[i]),  # the product
        lambda c, p: sorted(range(len(c)), key=lambda i: c[i] / (1 - p[i]))],  # divides by zero
    2: [lambda rows: steps([r[::-1] for r in rows]),  # the last reason
        lambda rows: steps([[x] for r in rows for x in r]),  # all of them
        lambda rows: {r[0]: sum(q[:1] == r[:1] for q in rows) for r in rows if r}],  # whole reasons, not steps
    3: [lambda s, n: cuts(s, n, lambda held, limit: held > limit),  # only when above
        lambda s, n: cuts(s, n, rest=False),  # the rest lost
        lambda s, n: [len(s[i:i + 3]) for i in range(0, len(s), 3)]],  # by number, not by size
    4: [lambda b, s: [n for n in range(len(b)) if n not in s],  # any shard will do
        lambda b, s: [n for n in range(len(b)) if b[n] not in s.values()],  # anywhere
        lambda b, s: list(range(len(s), len(b)))],  # counting shards
    5: [lambda t, w: pool(t, w, ordered=False),  # as they finish
        lambda t, w: list(itertools.accumulate(t)),  # one worker
        lambda t, w: list(itertools.accumulate((sum(t[i % w:i + 1:w]) for i in range(len(t))), max))],  # dealt out in turns
}


@pytest.mark.parametrize("number", RIGHT)
def test_a_right_answer_passes(number):
    "An answer written independently of the reference passes."
    assert verdict(find(f"02e.{number}"), RIGHT[number]) == (True, "right")


@pytest.mark.parametrize("number, index", [(k, i) for k, answers in WRONG.items() for i in range(len(answers))])
def test_a_planted_mistake_is_rejected(number, index):
    "Each plausible mistake fails on some input."
    right, words = verdict(find(f"02e.{number}"), WRONG[number][index])
    assert not right and "expected" in words


@pytest.mark.parametrize("number", RIGHT)
def test_a_grader_has_inputs_and_hints(number):
    "At least twenty inputs, the same at each call, and three hints."
    exercise = find(f"02e.{number}")
    assert len(list(exercise.cases())) >= 20 and list(exercise.cases()) == list(exercise.cases())
    assert len(exercise.hints) == 3


@pytest.mark.parametrize("number", RIGHT)
def test_a_blank_is_not_a_mistake(number):
    "An unsolved exercise says so."
    assert verdict(find(f"02e.{number}"), lambda *_: ...) == (False, "not attempted yet")
