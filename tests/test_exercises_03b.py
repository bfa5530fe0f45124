"The graders of notebook 03b reject planted mistakes and accept right answers written anew."
import re

import pytest

from minillm.exercises.grading import find, verdict


def inside(b): return 0x80 <= b < 0xC0


def cut(tokens): return sum(inside(b[0]) and not all(map(inside, a)) for a, b in zip(tokens, tokens[1:]))


def masked(ids, start, end, assistant, head=2, with_end=True, anywhere=False):
    mask, opened = [], None
    for k, i in enumerate(ids):
        if i == start: opened = k
        role = opened is not None and (assistant in ids[opened + 1:k] if anywhere else ids[opened + 1:opened + 2] == [assistant])
        mask.append(int(opened is not None and k > opened + head and role and (with_end or i != end)))
        if i == end: opened = None
    return mask


RIGHT = {
    1: cut,
    2: lambda counts, base: {k: sum(v) / sum(counts[base]) for k, v in counts.items()},
    3: lambda tokens, merges: [t for t in dict.fromkeys(a + b for a, b in merges) if t not in tokens],
    4: masked,
    5: lambda text: re.findall(r"[0-9]{1,3}(?=(?:[0-9]{3})*(?![0-9]))|[^0-9]+", text),
}
WRONG = {
    1: [lambda tokens: sum(inside(t[0]) for t in tokens),  # a character in three parts counts twice
        lambda tokens: sum("\ufffd" in t.decode("utf-8", "replace") for t in tokens),  # tokens instead of characters
        lambda tokens: sum(len(c.encode()) > 1 for c in b"".join(tokens).decode()),  # every character of several bytes
        lambda tokens: sum(inside(b[0]) and not inside(a[-1]) for a, b in zip(tokens, tokens[1:]))],  # cut after two of three bytes
    2: [lambda counts, base: {k: sum(a / b for a, b in zip(v, counts[base])) / len(v) for k, v in counts.items()},  # mean of ratios
        lambda counts, base: {k: sum(counts[base]) / sum(v) for k, v in counts.items()},  # upside down
        lambda counts, base: {k: sum(v) / sum(counts["en"]) for k, v in counts.items()},  # English always
        lambda counts, base: {k: sum(v) / sum(counts[base]) for k, v in counts.items() if k != base}],  # the base left out
    3: [lambda tokens, merges: [a + b for a, b in merges if a + b not in tokens],  # twice
        lambda tokens, merges: sorted({a + b for a, b in merges} - set(tokens)),  # another order
        lambda tokens, merges: [t for t in dict.fromkeys(a + b for a, b in merges) if t not in "".join(tokens)],  # found inside a longer one
        lambda tokens, merges: [t for t in dict.fromkeys(a + b for a, b in merges) if t in tokens]],  # the used ones
    4: [lambda *a: masked(*a, head=1), lambda *a: masked(*a, head=0),  # the line end, the role
        lambda *a: masked(*a, with_end=False),  # never learns to stop
        lambda *a: masked(*a, anywhere=True),  # a role's id in somebody's content
        lambda ids, start, end, assistant: [int(i not in (start, end)) for i in ids]],  # everybody
    5: [lambda text: re.findall(r"[0-9]{1,3}|[^0-9]+", text),  # from the left
        lambda text: re.findall(r"\d{1,3}(?=(?:\d{3})*(?!\d))|\D+", text),  # other scripts' digits
        lambda text: re.findall(r"[0-9]+|[^0-9]+", text),  # whole numbers
        lambda text: re.findall(r"[0-9]{1,3}(?=(?:[0-9]{3})*$)|[^0-9]+", text)],  # only at the end of the text
}


@pytest.mark.parametrize("number", RIGHT)
def test_a_right_answer_is_accepted(number):
    "An independent solution passes."
    assert verdict(find(f"03b.{number}"), RIGHT[number]) == (True, "right")


@pytest.mark.parametrize("number, index", [(k, i) for k, answers in WRONG.items() for i in range(len(answers))])
def test_a_planted_mistake_is_rejected(number, index):
    "Each plausible mistake fails on some input."
    right, words = verdict(find(f"03b.{number}"), WRONG[number][index])
    assert not right and "expected" in words


@pytest.mark.parametrize("number", RIGHT)
def test_a_grader_has_inputs_and_hints(number):
    "At least twenty inputs, the same at each call, and three hints."
    exercise = find(f"03b.{number}")
    assert len(list(exercise.cases())) >= 20 and list(exercise.cases()) == list(exercise.cases())
    assert len(exercise.hints) == 3


@pytest.mark.parametrize("number", RIGHT)
def test_a_blank_is_not_a_mistake(number):
    "An unsolved exercise says so."
    assert verdict(find(f"03b.{number}"), lambda *_: ...) == (False, "not attempted yet")
