"The graders of notebook 05b reject planted mistakes and accept right answers written anew."
from itertools import accumulate

import pytest

from minillm.exercises.grading import find, verdict


def cut(ids, end, empty=True, rest=True):
    out, document = [], []
    for i in ids:
        if i != end:
            document.append(i)
            continue
        if document or empty: out.append(document)
        document = []
    return out + [document] * bool(document and rest)


def mask(starts, first, T, side=1, past=True, same=True):
    owner = [sum(s < first + t + side for s in starts) for t in range(T)]
    return [[(s <= t or not past) and (owner[s] == owner[t] or not same) for s in range(T)] for t in range(T)]


def place(n_windows, taken, strict=True):
    ends = list(accumulate(n_windows))
    epoch = next(e for e, end in enumerate(ends) if taken < end or (not strict and taken == end))
    return epoch, taken - (ends[epoch] - n_windows[epoch])


def blocks(order, B, rank, world): return [w for k in range(0, len(order) - B * world + 1, B * world) for w in order[k + rank * B:k + rank * B + B]]


RIGHT = {1: cut, 2: mask, 3: lambda n, T, first: ((n - 1 - first) // T, first + 1, (n - 1 - first) % T), 4: place, 5: blocks}
WRONG = {
    1: [lambda ids, end: cut(ids, end, empty=False),  # empty documents lost
        lambda ids, end: cut(ids, end, rest=False),  # an open one lost
        lambda ids, end: cut([*ids, end], end),  # an empty one more at the end
        lambda ids, end: [[*d, end] for d in cut(ids, end)]],  # with its end
    2: [lambda *a: mask(*a, side=0),  # a start belongs to the document before
        lambda *a: mask(*a, past=False),  # sees the future
        lambda *a: mask(*a, same=False),  # causal alone
        lambda starts, first, T: mask(starts, 0, T)],  # the place of the window forgotten
    3: [lambda n, T, first: ((n - first) // T, first + 1, (n - first) % T),  # no token for the last answer
        lambda n, T, first: ((n - 1 - first) // T, first, (n - 1 - first) % T),  # the token at first is asked for
        lambda n, T, first: ((n - 1) // T, first + 1, (n - 1) % T)],  # as if from 0
    4: [lambda n, taken: place(n, taken, strict=False),  # an epoch that is over
        lambda n, taken: divmod(taken, n[0]),  # all epochs as long as the first
        lambda n, taken: place(n, taken)[::-1]],
    5: [lambda order, B, rank, world: order[rank::world],  # each W-th window
        lambda order, B, rank, world: [w for k in range(rank * B, len(order), B * world) for w in order[k:k + B]],  # uneven at the end
        lambda order, B, rank, world: order[len(order) // world * rank:len(order) // world * (rank + 1)],  # a slice of the text each
        lambda order, B, rank, world: blocks(order, B, 0, world)],  # everyone the same
}


@pytest.mark.parametrize("number", RIGHT)
def test_a_right_answer_is_accepted(number):
    "An independent solution passes."
    assert verdict(find(f"05b.{number}"), RIGHT[number]) == (True, "right")


@pytest.mark.parametrize("number, index", [(k, i) for k, answers in WRONG.items() for i in range(len(answers))])
def test_a_planted_mistake_is_rejected(number, index):
    "Each plausible mistake fails on some input."
    right, words = verdict(find(f"05b.{number}"), WRONG[number][index])
    assert not right and "expected" in words


@pytest.mark.parametrize("number", RIGHT)
def test_a_grader_has_inputs_and_hints(number):
    "At least twenty inputs, the same at each call, and three hints."
    exercise = find(f"05b.{number}")
    assert len(list(exercise.cases())) >= 20 and list(exercise.cases()) == list(exercise.cases())
    assert len(exercise.hints) == 3


@pytest.mark.parametrize("number", RIGHT)
def test_a_blank_is_not_a_mistake(number):
    "An unsolved exercise says so."
    assert verdict(find(f"05b.{number}"), lambda *_: ...) == (False, "not attempted yet")
