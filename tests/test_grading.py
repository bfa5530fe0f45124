"The grader itself: what it says, and that it never stops a notebook."
import json

import pytest
import torch

from minillm.exercises import check
from minillm.exercises.grading import Exercise, agree, find, verdict


def double():
    return Exercise(lambda n: 2 * n, lambda: [(n,) for n in range(5)], ["first", "second", "third"])


def test_smallest_failing_input_and_one_more_hint_each_time():
    "A wrong answer shows the smallest input it fails on, and each failure one hint more."
    exercise = double()
    for hints in (1, 2, 3, 3):
        right, words = verdict(exercise, lambda n: 2 * n if n < 3 else 0)
        assert not right and "input:    3\n" in words and "expected: 6" in words and "came:     0" in words
        assert words.count("hint") == hints


def test_unsolved_is_not_wrong():
    "`...`, None and a function whose body is `...` are not attempted, and cost no hint."
    def blank(n): ...
    exercise = double()
    def documented(n):
        "What it will do."
        ...
    for answer in (..., None, blank, documented): assert verdict(exercise, answer) == (False, "not attempted yet")
    assert exercise.failures == 0


def test_a_forgotten_return_is_told():
    "A function that computes and returns nothing is wrong, with the likely reason; so is one whose answer cannot be compared."
    def forgetful(n): 2 * n
    class Odd:
        def __eq__(self, other): raise RuntimeError("no")
    assert "is a `return` missing?" in verdict(double(), forgetful)[1]
    assert not verdict(double(), lambda n: Odd())[0]


def test_an_error_is_shown_with_its_input():
    "An exception of the student's function is a failure with its input, not a crash."
    right, words = verdict(double(), lambda n: 2 * n if n < 2 else 1 / 0)
    assert not right and "input:    2" in words and "ZeroDivisionError: division by zero" in words


def test_the_reference_is_never_graded():
    "The reference itself, or anything the package defines, is refused."
    from minillm.nanogpt import get_batch
    exercise = double()
    assert "define yours" in verdict(exercise, exercise.reference)[1]
    assert "define yours" in verdict(find("01a.2"), get_batch)[1]


def test_inputs_are_copies():
    "A function that spoils its input cannot spoil the reference's."
    exercise = Exercise(lambda x: x.sum(), lambda: [(torch.ones(3),)], ["h"])
    def spoil(x):
        x.zero_()
        return x.sum()
    assert not verdict(exercise, spoil)[0]
    def right_but_spoiling(x):
        total = x.sum()
        x.zero_()
        return total
    assert "the input was changed" in verdict(exercise, right_but_spoiling)[1]


def test_check_prints_and_raises_only_when_strict(capsys, monkeypatch):
    "A wrong answer prints; only strict (or MINILLM_STRICT=1) raises."
    monkeypatch.delenv("MINILLM_STRICT", raising=False)
    check("01a.1", lambda text: 1.0)
    assert capsys.readouterr().out.startswith("01a.1: not yet")
    with pytest.raises(AssertionError, match="not yet"): check("01a.1", lambda text: 1.0, strict=True)
    monkeypatch.setenv("MINILLM_STRICT", "1")
    with pytest.raises(AssertionError, match="not attempted"): check("01a.1", ...)


@pytest.mark.parametrize("number", ["99z.1", "01a.77", "01a", "01a.x", 1.2, ""])
def test_unknown_exercise(number):
    "A number that does not exist is one clear error."
    with pytest.raises(ValueError, match="does not exist; try a number like"): check(number, ...)


def test_agree():
    "Shape, type and value all count; a tensor is no float and True is not 1."
    assert agree(torch.ones(2), torch.ones(2)) and not agree(torch.ones(2), torch.ones(1, 2))
    assert agree(torch.tensor(0.5), 0.5) and not agree(torch.ones(2), torch.ones(2, dtype=torch.bool))
    assert not agree(1.0, torch.tensor(1.0)) and not agree(1, True) and agree(0.1 + 0.2, 0.3)
    assert not agree(torch.tensor([1.0, 1.1]), torch.tensor([1.0, 1.0])) and not agree("1", 1)
    assert agree([1, (2, "a")], [1, (2, "a")]) and not agree([1], [1, 2])
    assert agree(torch.tensor(float("nan")), torch.tensor(float("nan")))


def notebooks(root): return sorted((root / "nbs").glob("[0-9]*.ipynb"))


def test_every_exercise_has_its_grader(request):
    "Each lesson has four to six exercises, each checked under a number whose grader exists, with three hints and many inputs."
    import re
    for path in notebooks(request.config.rootpath):
        week = path.stem.split("_")[0]
        source = "\n".join("".join(c["source"]) for c in json.loads(path.read_text(encoding="utf-8"))["cells"])
        numbers = re.findall(r'check\("([^"]+)"', source)
        if week.startswith(("23", "25")): continue  # not lessons yet: the report, the tour and the command
        assert 4 <= len(numbers) <= 6 and numbers == [f"{week}.{i + 1}" for i in range(len(numbers))], path.name
        for number in numbers: assert len(find(number).hints) >= 3 and len(list(find(number).cases())) >= 5, number
