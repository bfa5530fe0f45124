"The graders of notebook 04b reject planted mistakes and accept right answers written anew."
import math

import pytest
import torch

from minillm.exercises.grading import agree, find, verdict


def epsilon(logits, e, strict=False, likeliest=True, in_place=False):
    p = logits.softmax(-1)
    drop = p <= e if strict else p < e
    if likeliest: drop = drop.scatter(-1, p.argmax(-1, keepdim=True), False)
    return logits.masked_fill_(drop, -torch.inf) if in_place else torch.where(drop, torch.tensor(-torch.inf), logits)


def grams(ids, n):
    seen = {}
    for i in range(len(ids) - n + 1): seen.setdefault(tuple(ids[i:i + n - 1]), set()).add(ids[i + n - 1])
    return sorted(seen.get(tuple(ids[len(ids) - n + 1:]) if len(ids) >= n - 1 else None, ()))


def alpha(p, q): return 1 - (p - q).clamp(min=0).sum().item()


RIGHT = {
    1: lambda L, G, D, T, B, b: L*B*T*G*D*b + L*B*T*G*D*b,
    2: epsilon,
    3: grams,
    4: lambda data: len(data.decode("utf-8", "ignore").encode()),
    5: lambda p, q, n: n + 1 if alpha(p, q) > 1 - 1e-9 else (1 - alpha(p, q)**(n + 1))/(1 - alpha(p, q)),
}
WRONG = {
    1: [lambda L, G, D, T, B, b: L*G*D*T*B*b,  # keys alone
        lambda L, G, D, T, B, b: 2*L*G*D*T*b,  # one text
        lambda L, G, D, T, B, b: 2*L*G*D*T*T*B*b,  # as if scores were kept
        lambda L, G, D, T, B, b: 2*G*D*T*B*b],  # one layer
    2: [lambda z, e: epsilon(z, e, likeliest=False),  # nothing may be left
        lambda z, e: z.masked_fill(z < math.log(max(e, 1e-9)), -torch.inf),  # logits taken for log-probabilities
        lambda z, e: epsilon(z, e).softmax(-1),  # probabilities, not logits
        lambda z, e: epsilon(z, e, in_place=True)],  # the input changed
    3: [lambda ids, n: sorted({ids[i + n - 1] for i in range(len(ids) - n + 1) if ids[i:i + n - 1] == ids[-(n - 1):]}),  # n = 1
        lambda ids, n: grams(ids, n + 1),  # one token too long
        lambda ids, n: sorted(set(ids)),  # every token
        lambda ids, n: grams(ids[:-1], n)],  # of the text before
    4: [lambda data: len(data),  # broken ones shown
        lambda data: max((i for i in range(len(data) + 1) if data[:i].isascii()), default=0),  # up to the first accent
        lambda data: len(data) - (bool(data) and data[-1] >= 0x80),  # the last byte always held back
        lambda data: len(data) - (bool(data) and data[-1] >= 0xC0)],  # first bytes only
    5: [lambda p, q, n: (1 + alpha(p, q))**n,
        lambda p, q, n: RIGHT[5](p, q, n) - 1,  # the free token forgotten
        lambda p, q, n: 1 + n*alpha(p, q),  # as if every guess were looked at
        lambda p, q, n: RIGHT[5](p, (p*q/(p*q).sum()).nan_to_num(), n)],  # another overlap
}


@pytest.mark.parametrize("number", RIGHT)
def test_a_right_answer_is_accepted(number):
    "An independent solution passes."
    assert verdict(find(f"04b.{number}"), RIGHT[number]) == (True, "right")


@pytest.mark.parametrize("number, index", [(k, i) for k, answers in WRONG.items() for i in range(len(answers))])
def test_a_planted_mistake_is_rejected(number, index):
    "Each plausible mistake fails on some input."
    right, words = verdict(find(f"04b.{number}"), WRONG[number][index])
    assert not right and "expected" in words


@pytest.mark.parametrize("number", RIGHT)
def test_a_grader_has_inputs_and_hints(number):
    "At least twenty inputs, the same at each call, and three hints."
    exercise = find(f"04b.{number}")
    first, second = list(exercise.cases()), list(exercise.cases())
    assert len(first) >= 20 and agree(first, second) and len(exercise.hints) == 3


@pytest.mark.parametrize("number", RIGHT)
def test_a_blank_is_not_a_mistake(number):
    "An unsolved exercise says so."
    assert verdict(find(f"04b.{number}"), lambda *_: ...) == (False, "not attempted yet")
