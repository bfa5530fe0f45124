"The graders of notebook 05c reject planted mistakes and accept right answers written anew."
import math

import pytest
import torch

from minillm.exercises.grading import find, verdict


def adamw(w, g, m, v, t, lr, b1, b2, eps, decay, order="decoupled", correct=True, inside=False):
    if order == "coupled": g = g + decay*w
    m, v = m*b1 + g*(1 - b1), v*b2 + g.pow(2)*(1 - b2)
    a, b = (m/(1 - b1**t), v/(1 - b2**t)) if correct else (m, v)
    step = a/(b + eps).sqrt() if inside else a/(b.sqrt() + eps)
    return w - lr*(step + (decay*w if order == "decoupled" else 0)), m, v


def polar(M):  # M (M^T M)^(-1/2), or the other way round
    small = M if M.shape[0] <= M.shape[1] else M.T
    values, vectors = torch.linalg.eigh(small @ small.T)
    root = vectors @ torch.diag(values.rsqrt()) @ vectors.T @ small
    return root if M.shape[0] <= M.shape[1] else root.T


def scale(finite, scale, interval, reset=True, start=0):
    good = start
    for ok in finite:
        if not ok: scale, good = scale/2, 0
        else:
            good += 1
            if good >= interval: scale, good = scale*2, 0 if reset else good
    return scale


RIGHT = {
    1: adamw,
    2: polar,
    3: lambda s, n, w, d: (s + 1)/(w + 1) if s < w else 1 - max(0, (s - n + d)/d)**0.5,
    4: lambda grads, c: [g/max(1, math.hypot(*(x for h in grads for x in h.flatten().tolist()))/c) for g in grads],
    5: lambda losses, asked: (losses.nan_to_num().double() @ torch.tensor(asked).double()).item()/(sum(asked) or 1),
    6: scale,
}
WRONG = {
    1: [lambda *a: adamw(*a, order="coupled"),  # decay through the gradient
        lambda *a: adamw(*a, correct=False),  # no correction for the start at zero
        lambda *a: adamw(*a, inside=True),  # eps inside the root
        lambda *a: adamw(*a)[0]],  # the averages not returned
    2: [lambda M: M/torch.linalg.matrix_norm(M, 2),  # only scaled
        lambda M: M.sign(),  # Adam's answer
        lambda M: (lambda s: s[0] @ s[2].T)(torch.linalg.svd(M, full_matrices=False)) if M.shape[0] == M.shape[1] else polar(M),  # V, not V^T
        lambda M: torch.linalg.qr(M)[0] if M.shape[0] >= M.shape[1] else torch.linalg.qr(M.T)[0].T],  # orthogonal, but not the nearest
    3: [lambda s, n, w, d: RIGHT[3](s, n, w, d) if s < n - d else 1 - (s - n + d)/d,  # a straight line
        lambda s, n, w, d: s/w if s < w else RIGHT[3](s, n, w, d),  # warm-up from 0
        lambda s, n, w, d: RIGHT[3](s, n, w, d) if s < n - d else math.sqrt((n - s)/d),  # the other root
        lambda s, n, w, d: min(1, (s + 1)/(w + 1))],  # no decay
    4: [lambda grads, c: [g*min(1, c/g.norm().item()) if g.norm() else g for g in grads],  # each by itself
        lambda grads, c: [g.clamp(-c, c) for g in grads],  # by value
        lambda grads, c: [g*c/max(1e-12, torch.cat([h.flatten() for h in grads]).norm().item()) for g in grads],  # short ones lengthened
        lambda grads, c: [g.mul_(min(1, c/max(1e-12, torch.cat([h.flatten() for h in grads]).norm().item()))) for g in grads]],  # in place
    5: [lambda losses, asked: sum(losses)/len(losses),  # the mean of means
        lambda losses, asked: sum(x*n for x, n in zip(losses, asked))/max(1, sum(asked)),  # NaN times 0
        lambda losses, asked: sum(x*n for x, n in zip(losses, asked) if n),  # not divided
        lambda losses, asked: sum(x for x, n in zip(losses, asked) if n)/max(1, sum(n > 0 for n in asked))],  # parts alike
    6: [lambda f, s, k: scale(f, s, k, reset=False),  # doubled again at once
        lambda f, s, k: s*2**(sum(f)//k)/2**f.count(False),  # good steps need not be in a row
        lambda f, s, k: s/2**f.count(False),  # never grows
        lambda f, s, k: scale(f, s, k + 1)],  # one too late
}


@pytest.mark.parametrize("number", RIGHT)
def test_a_right_answer_is_accepted(number):
    "An independent solution passes."
    assert verdict(find(f"05c.{number}"), RIGHT[number]) == (True, "right")


@pytest.mark.parametrize("number, index", [(k, i) for k, answers in WRONG.items() for i in range(len(answers))])
def test_a_planted_mistake_is_rejected(number, index):
    "Each plausible mistake fails on some input."
    right, words = verdict(find(f"05c.{number}"), WRONG[number][index])
    assert not right and "expected" in words


@pytest.mark.parametrize("number", RIGHT)
def test_a_grader_has_inputs_and_hints(number):
    "At least twenty inputs, the same at each call, and three hints."
    exercise = find(f"05c.{number}")
    assert len(list(exercise.cases())) >= 20 and str(list(exercise.cases())) == str(list(exercise.cases()))
    assert len(exercise.hints) == 3


@pytest.mark.parametrize("number", RIGHT)
def test_a_blank_is_not_a_mistake(number):
    "An unsolved exercise says so."
    assert verdict(find(f"05c.{number}"), lambda *_: ...) == (False, "not attempted yet")
