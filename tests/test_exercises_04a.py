"The graders of notebook 04a reject planted mistakes and accept right answers written anew."
import math

import pytest
import torch
from torch.nn import functional as F

from minillm.exercises.grading import agree, find, verdict


def turned(x, position, theta, sign=1):
    D = len(x)
    z = torch.complex(x[:D//2].double(), x[D//2:].double())
    angle = torch.tensor([sign*position*theta**(-2*i/D) for i in range(D//2)], dtype=torch.float64)
    z = z*torch.polar(torch.ones_like(angle), angle)
    return torch.cat([z.real, z.imag]).float()


def neighbours(x, position, theta):
    return turned(torch.cat([x[::2], x[1::2]]), position, theta).view(2, -1).T.flatten()


def merged(a, b, fix=lambda top, new: math.exp(top - new), pick=max):
    new = pick(a[0], b[0])
    return new, *(a[i]*fix(a[0], new) + b[i]*fix(b[0], new) for i in (1, 2))


RIGHT = {
    1: lambda x, w, eps: F.rms_norm(x, (len(w),), w, eps),
    2: lambda C, m: m*math.ceil(8*C/(3*m)),
    3: turned,
    4: merged,
    5: lambda memory, n, L, G, D: 0 if memory < 2*n else (memory - 2*n)//(4*L*G*D),
    6: lambda w, H: torch.cat([torch.cat([head[::2], head[1::2]]) for head in w.chunk(H)]),
}
WRONG = {
    1: [lambda x, w, eps: F.layer_norm(x, (len(w),), w, None, eps),  # the mean taken away
        lambda x, w, eps: w*x/(x.pow(2).mean(-1, keepdim=True).sqrt() + eps),  # eps beside the root
        lambda x, w, eps: w*x/(x.pow(2).sum(-1, keepdim=True) + eps).sqrt(),  # the sum, not the mean
        lambda x, w, eps: x*torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps)],  # no weight
    2: [lambda C, m: 8*C//(3*m)*m,  # rounded down
        lambda C, m: round(8*C/(3*m))*m,  # to the nearest
        lambda C, m: (8*C//(3*m) + 1)*m,  # always one more
        lambda C, m: -(-4*C//m)*m],  # not narrowed for the third matrix
    3: [neighbours,
        lambda x, p, t: turned(x, p, t, -1),  # the other way round
        lambda x, p, t: turned(x, p + 1, t),  # counted from 1
        lambda x, p, t: turned(x, p, math.sqrt(t))],  # -i/D for -2i/D
    4: [lambda a, b: (max(a[0], b[0]), a[1] + b[1], a[2] + b[2]),  # no rescaling
        lambda a, b: merged(a, b, lambda top, new: math.exp(new - top)),  # upside down
        lambda a, b: (merged(a, b)[0], 1.0, merged(a, b)[2]/merged(a, b)[1]),  # divided too early
        lambda a, b: merged(a, b, pick=min)],  # overflows
    5: [lambda memory, n, L, G, D: (memory - 2*n)//(4*L*G*D),  # negative
        lambda memory, n, L, G, D: max(0, (memory - 2*n)//(2*L*G*D)),  # keys alone
        lambda memory, n, L, G, D: max(0, (memory - 4*n)//(4*L*G*D)),  # weights in 32 bits
        lambda memory, n, L, G, D: max(0, (memory - 2*n)//(4*G*D))],  # one layer
    6: [lambda w, H: torch.cat([w[::2], w[1::2]]),  # across heads
        lambda w, H: w.view(H, 2, -1, w.shape[-1]).transpose(1, 2).reshape(w.shape),  # the way back
        lambda w, H: torch.cat([torch.cat([head[1::2], head[::2]]) for head in w.chunk(H)]),  # odd ones first
        lambda w, H: w],
}


@pytest.mark.parametrize("number", RIGHT)
def test_a_right_answer_is_accepted(number):
    "An independent solution passes."
    assert verdict(find(f"04a.{number}"), RIGHT[number]) == (True, "right")


@pytest.mark.parametrize("number, index", [(k, i) for k, answers in WRONG.items() for i in range(len(answers))])
def test_a_planted_mistake_is_rejected(number, index):
    "Each plausible mistake fails on some input."
    right, words = verdict(find(f"04a.{number}"), WRONG[number][index])
    assert not right and "expected" in words


@pytest.mark.parametrize("number", RIGHT)
def test_a_grader_has_inputs_and_hints(number):
    "At least twenty inputs, the same at each call, and three hints."
    exercise = find(f"04a.{number}")
    assert len(list(exercise.cases())) >= 20 and agree(list(exercise.cases()), list(exercise.cases()))
    assert len(exercise.hints) == 3


@pytest.mark.parametrize("number", RIGHT)
def test_a_blank_is_not_a_mistake(number):
    "An unsolved exercise says so."
    assert verdict(find(f"04a.{number}"), lambda *_: ...) == (False, "not attempted yet")
