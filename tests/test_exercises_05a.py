"The graders of notebook 05a reject planted mistakes and accept right answers written anew."
import math

import pytest

from minillm.exercises.grading import find, verdict
from minillm.metrics import rolling_windows


def read(n, window, stride, less=0):
    return [k - start - less for start, stop, new in rolling_windows(n, window, stride) for k in range(stop - new + 1, stop + 1)]


def from_code(x, shares, n, upper=True, zoom=True):
    out, low, width = [], 0.0, 1.0
    for _ in range(n):
        edges = [low + width * sum(shares[:k]) for k in range(len(shares))]
        token = max(k for k, edge in enumerate(edges) if edge <= x or (k == 0)) if upper else max(k for k, edge in enumerate(edges) if edge < x or k == 0)
        out.append(token)
        if zoom: low, width = edges[token], width * shares[token]
    return out


RIGHT = {1: read, 2: lambda parts: sum(m * n for m, n, _ in parts) / (math.log(2) * sum(p[2] for p in parts)),
         3: lambda p, tokens, words: math.exp(math.log(p) * tokens / words), 4: from_code,
         5: lambda s, tokens, n, peak, gpus: 6 * n * tokens / s / peak / gpus}
WRONG = {
    1: [lambda n, window, stride: read(n, window, stride, less=1),  # one too few
        lambda n, window, stride: read(n, window, window),  # side by side
        lambda n, window, stride: [min(k, window) for k in range(1, n)],  # as if the stride were 1
        lambda n, window, stride: [1 + (k - 1) % window for k in range(1, n)]],  # the last window not moved back
    2: [lambda parts: sum(m * n / b for m, n, b in parts) / len(parts) / math.log(2),  # mean over files
        lambda parts: sum(m * n for m, n, _ in parts) / sum(b for *_, b in parts),  # nats
        lambda parts: sum(m for m, *_ in parts) / sum(b for *_, b in parts) / math.log(2),  # means added
        lambda parts: sum(m * n for m, n, _ in parts) / sum(n for _, n, _ in parts) / math.log(2)],  # bits per token
    3: [lambda p, tokens, words: p * tokens / words,  # not the exponent
        lambda p, tokens, words: p ** (words / tokens),  # upside down
        lambda p, tokens, words: p],
    4: [lambda x, shares, n: from_code(x, shares, n, upper=False),  # a border belongs to the lower share
        lambda x, shares, n: from_code(x, shares, n, zoom=False),  # never goes inside
        lambda x, shares, n: from_code(x, sorted(shares), n)],  # in another order
    5: [lambda s, tokens, n, peak, gpus: 2 * n * tokens / s / peak / gpus,  # forward alone
        lambda s, tokens, n, peak, gpus: 6 * n * tokens / s / peak,  # one device
        lambda s, tokens, n, peak, gpus: 6 * n * tokens * s / peak / gpus]}  # seconds the wrong way


@pytest.mark.parametrize("number", RIGHT)
def test_a_right_answer_is_accepted(number):
    "An independent solution passes."
    assert verdict(find(f"05a.{number}"), RIGHT[number]) == (True, "right")


@pytest.mark.parametrize("number, index", [(k, i) for k, answers in WRONG.items() for i in range(len(answers))])
def test_a_planted_mistake_is_rejected(number, index):
    "Each plausible mistake fails on some input."
    right, words = verdict(find(f"05a.{number}"), WRONG[number][index])
    assert not right and "expected" in words


@pytest.mark.parametrize("number", RIGHT)
def test_a_grader_has_inputs_and_hints(number):
    "At least twenty inputs, the same at each call, and three hints."
    exercise = find(f"05a.{number}")
    assert len(list(exercise.cases())) >= 20 and list(exercise.cases()) == list(exercise.cases())
    assert len(exercise.hints) == 3


@pytest.mark.parametrize("number", RIGHT)
def test_a_blank_is_not_a_mistake(number):
    "An unsolved exercise says so."
    assert verdict(find(f"05a.{number}"), lambda *_: ...) == (False, "not attempted yet")
