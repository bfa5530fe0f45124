"The graders of notebook 02b reject planted mistakes and accept right answers written anew."
import math
import re

import pytest

from minillm.exercises.grading import find, verdict


def best(lengths, junk, f1):
    return max(range(max(lengths, default=0) + 2), key=lambda least: (f1([n < least for n in lengths], junk), -least))


def f1(dropped, junk):
    hits = sum(d and j for d, j in zip(dropped, junk))
    return 2*hits/(sum(dropped) + sum(junk)) if hits else 0


def share(counts, t): return {k: math.exp(math.log(n)/t)/sum(m**(1/t) for m in counts.values()) for k, n in counts.items()}


RIGHT = {
    1: lambda text: max(text.count("#"), text.count("...") + text.count("…"))/max(1, len(text.split())),
    2: lambda text: re.sub(r"(?<![0-9])(?:\+34 )?(?:6|7)[0-9]{2} [0-9]{3} [0-9]{3}(?![0-9])", "<PHONE>", text),
    3: lambda t, lang, m: sum(m if g not in lang else max(r - lang[g], lang[g] - r) for g, r in t.items()),
    4: lambda counts, t, draws: {k: draws*p/counts[k] for k, p in share(counts, t).items()},
    5: lambda lengths, junk: best(lengths, junk, f1),
}
WRONG = {
    1: [lambda text: text.count("#")/max(1, len(text.split())),  # ellipses forgotten
        lambda text: (text.count("#") + text.count("...") + text.count("…"))/max(1, len(text.split())),  # the sum
        lambda text: max(text.count("#"), text.count("..."))/max(1, len(text.split())),  # one of two ellipses
        lambda text: max(text.count("#"), text.count("...") + text.count("…"))/len(text.split()),  # no words
        lambda text: sum(w == "#" for w in text.split())/max(1, len(text.split()))],  # whole words only
    2: [lambda text: re.sub(r"[67]\d{2} \d{3} \d{3}", "<PHONE>", text),  # neighbours and prefix
        lambda text: re.sub(r"(?<!\d)[67]\d{2} \d{3} \d{3}(?!\d)", "<PHONE>", text),  # the prefix stays
        lambda text: re.sub(r"\b(?:\+34 )?[67]\d{2} \d{3} \d{3}\b", "<PHONE>", text),  # letters are no digits
        lambda text: re.sub(r"(?<!\d)(?:\+34 )?\d{3} \d{3} \d{3}(?!\d)", "<PHONE>", text),  # any first digit
        lambda text: re.sub(r"(?<!\d)(?:\+34 )?[67]\d{2} ?\d{3} ?\d{3}(?!\d)", "<PHONE>", text)],  # blanks optional
    3: [lambda t, lang, m: sum(abs(r - lang[g]) for g, r in t.items() if g in lang),  # unknown ones are free
        lambda t, lang, m: sum(abs(r - lang.get(g, m)) for g, r in t.items()),  # as if they stood at rank m
        lambda t, lang, m: sum(abs(r - t[g]) if g in t else m for g, r in lang.items()),  # the other way round
        lambda t, lang, m: sum(r - lang[g] if g in lang else m for g, r in t.items())],  # with its sign
    4: [lambda counts, t, draws: {k: draws/sum(counts.values()) for k in counts},  # the temperature forgotten
        lambda counts, t, draws: {k: draws*p for k, p in share(counts, t).items()},  # documents, not readings
        lambda counts, t, draws: {k: draws*p/counts[k] for k, p in share(counts, 1/t).items()},  # the power itself
        lambda counts, t, draws: {k: draws*p/sum(counts.values()) for k, p in share(counts, t).items()}],  # of all
    5: [lambda lengths, junk: best(lengths, junk, lambda d, j: sum(a and b for a, b in zip(d, j))),  # recall only
        lambda lengths, junk: best(lengths, junk, lambda d, j: sum(a and b for a, b in zip(d, j))/max(1, sum(d))),  # precision
        lambda lengths, junk: best(lengths, junk, lambda d, j: sum(a == b for a, b in zip(d, j))),  # accuracy
        lambda lengths, junk: max(0, best(lengths, junk, f1) - 1)],  # at most instead of fewer than
}


@pytest.mark.parametrize("number", RIGHT)
def test_a_right_answer_is_accepted(number):
    "An independent solution passes."
    assert verdict(find(f"02b.{number}"), RIGHT[number]) == (True, "right")


@pytest.mark.parametrize("number, index", [(k, i) for k, answers in WRONG.items() for i in range(len(answers))])
def test_a_planted_mistake_is_rejected(number, index):
    "Each plausible mistake fails on some input."
    right, words = verdict(find(f"02b.{number}"), WRONG[number][index])
    assert not right and "expected" in words


@pytest.mark.parametrize("number", RIGHT)
def test_a_grader_has_inputs_and_hints(number):
    "At least twenty inputs, the same at each call, and three hints."
    exercise = find(f"02b.{number}")
    assert len(list(exercise.cases())) >= 20 and list(exercise.cases()) == list(exercise.cases())
    assert len(exercise.hints) == 3


@pytest.mark.parametrize("number", RIGHT)
def test_a_blank_is_not_a_mistake(number):
    "An unsolved exercise says so."
    assert verdict(find(f"02b.{number}"), lambda *_: ...) == (False, "not attempted yet")
