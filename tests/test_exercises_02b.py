"The graders of notebook 02b reject planted mistakes and accept right answers written anew."
import re

import pytest

from minillm.exercises.grading import find, verdict


def ratio(text):
    n, ellipses = len(text.split()), len(re.findall(r"\.{3}", text)) + len(re.findall("…", text))
    return 0 if n == 0 else max(len(re.findall("#", text))/n, ellipses/n)


def phones(text, prefix=True, before=True, after=True, mobile="67"):
    "Character by character, without a pattern; each switch turned off plants a mistake."
    out, i = "", 0
    while i < len(text):
        for start in ("+34 ", "") if prefix else ("",):
            number = text[i + len(start):i + len(start) + 11]
            shape = "".join("0" if c in "0123456789" else c for c in number)
            free = (i == 0 or not text[i - 1].isdecimal()) if before else True
            alone = not text[i + len(start) + 11:][:1].isdecimal() if after else True
            if text.startswith(start, i) and shape == "000 000 000" and number[0] in mobile and free and alone:
                out, i = out + "<PHONE>", i + len(start) + 11
                break
        else: out, i = out + text[i], i + 1
    return out


def distance(text_ranks, language_ranks, m):
    known = text_ranks.keys() & language_ranks.keys()
    return sum(abs(text_ranks[g] - language_ranks[g]) for g in known) + m*(len(text_ranks) - len(known))


def epochs(counts, temperature, draws):
    total = sum(n**(1/temperature) for n in counts.values())
    return {name: draws*n**(1/temperature - 1)/total for name, n in counts.items()}


def least_of(lengths, junk, better=lambda f1, best: f1 > best + 1e-12, measure=None, most=None):
    best, best_f1 = 0, 0.0
    for least in range(max(lengths, default=0) + 2 if most is None else most):
        dropped = [j for n, j in zip(lengths, junk) if n < least]
        p, r = sum(dropped)/max(1, len(dropped)), sum(dropped)/max(1, sum(junk))
        f1 = (measure or (lambda p, r: 2*p*r/(p + r) if p + r else 0.0))(p, r)
        if better(f1, best_f1): best, best_f1 = least, f1
    return best


RIGHT = {1: ratio, 2: phones, 3: distance, 4: epochs, 5: least_of}
WRONG = {
    1: [lambda t: (t.count("#") + t.count("...") + t.count("…"))/max(1, len(t.split())),  # added up
        lambda t: max(t.count("#"), t.count("..."))/max(1, len(t.split())),  # the one-character ellipsis forgotten
        lambda t: max(t.count("#"), t.count("..."), t.count("…"))/max(1, len(t.split())),  # each spelling for itself
        lambda t: max(t.count("#"), t.count("...") + t.count("…"))/len(t.split()),  # no words
        lambda t: sum(w.startswith("#") for w in t.split())/max(1, len(t.split())),  # words with a hash, not hashes
        lambda t: max(t.count("#"), t.count("...") + t.count("…"))/max(1, len(t))],  # for each character
    2: [lambda t: phones(t, prefix=False),  # the prefix stays
        lambda t: phones(t, before=False),  # the end of a longer number
        lambda t: phones(t, after=False),  # the beginning of a longer number
        lambda t: phones(t, mobile="6789"),  # land lines too
        lambda t: re.sub(r"(?<!\d)(?:\+34 )?[67]\d{2}\s?\d{3}\s?\d{3}(?!\d)", "<PHONE>", t),  # blanks optional
        lambda t: re.sub(r"\b(?:\+34 )?[67]\d{2} \d{3} \d{3}\b", "<PHONE>", t)],  # letters as neighbours, + is no word
    3: [lambda a, b, m: sum(abs(r - b[g]) for g, r in a.items() if g in b),  # what is missing costs nothing
        lambda a, b, m: sum(r - b[g] if g in b else m for g, r in a.items()),  # signs kept
        lambda a, b, m: sum(abs(a.get(g, m) - b.get(g, m)) for g in a),  # missing: rank m instead of cost m
        lambda a, b, m: sum(abs(a[g] - b[g]) if g in a and g in b else m for g in a | b)],  # from both sides
    4: [lambda c, t, d: {k: d*n/sum(c.values())/n for k, n in c.items()},  # temperature forgotten
        lambda c, t, d: {k: d*n**t/sum(v**t for v in c.values())/n for k, n in c.items()},  # the power upside down
        lambda c, t, d: {k: n*epochs(c, t, d)[k] for k, n in c.items()},  # draws, not readings
        lambda c, t, d: {k: d/len(c)/n for k, n in c.items()}],  # equal shares
    5: [lambda n, j: least_of(n, j, better=lambda f, b: f >= b),  # the largest of equals
        lambda n, j: least_of(n, j, measure=lambda p, r: (p + r)/2 if p*r else 0.0),  # arithmetic mean
        lambda n, j: least_of(n, j, measure=lambda p, r: r),  # recall alone
        lambda n, j: least_of(n, j, most=max(n, default=0) + 1),  # never drops the longest
        lambda n, j: least_of([x - 1 for x in n], j)],  # at most instead of fewer than
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
