"The graders of notebook 08a reject planted mistakes and accept right answers written anew."
import pytest

from minillm.exercises.grading import find, verdict


def merge(messages, sep="\n\n", changed=False):
    out = []
    for m in messages:
        if out and out[-1]["role"] == m["role"]: out[-1]["content"] = out[-1]["content"] + sep + m["content"]
        else: out.append(m if changed else {"role": m["role"], "content": m["content"]})
    return out


def pairs(messages): return [(messages[:i], messages[i]["content"]) for i in range(len(messages)) if messages[i]["role"] == "assistant"]


def count(call, brackets=True, quotes=True, markers=True):
    inside, depth, mark, n = call.partition("(")[2][:-1], 0, None, [""]
    for c in inside:
        if mark: mark = None if c == mark else mark
        elif quotes and c in "\"'": mark = c
        elif brackets: depth += (c in "([{") - (c in ")]}")
        if c == "," and not depth and not mark: n.append("")
        else: n[-1] += c
    return len([p for p in n if p.strip() and (p.strip() not in "/*" or not markers)])


def constant(train, test, tie=min, by_kind=True):
    out = {}
    for kind, _ in test:
        known = [a for k, a in train if k == kind or not by_kind]
        usual = tie(set(known), key=lambda a: (-known.count(a), a) if tie is min else (known.count(a), a)) if known else None
        asked = [a for k, a in test if k == kind]
        out[kind] = asked.count(usual) / len(asked)
    return out


def leaked(train, test, fold=str.casefold, ends=1, spaces=True):
    def key(p):
        p = " ".join(fold(p).split()) if spaces else fold(p)
        for _ in range(ends): p = p[:-1].rstrip() if p.endswith((".", "?", "!")) else p
        return p
    return [i for i, p in enumerate(test) if key(p) in {key(q) for q in train}]


RIGHT = {1: merge, 2: pairs, 3: count, 4: constant, 5: leaked}
WRONG = {
    1: [lambda m: merge(m, "\n"),  # no empty line
        lambda m: merge(m, changed=True),  # changes its input
        lambda m: [x for i, x in enumerate(m) if not i or m[i - 1]["role"] != x["role"]],  # drops what follows
        lambda m: list({x["role"]: x for x in m}.values())],  # one message a role
    2: [lambda m: pairs(m)[-1:],  # the last only
        lambda m: [(p[-1:], a) for p, a in pairs(m)],  # no history
        lambda m: [([x for x in p if x["role"] != "assistant"], a) for p, a in pairs(m)],  # earlier answers lost
        lambda m: [(p, dict(role="assistant", content=a)) for p, a in pairs(m)]],  # the message, not its content
    3: [lambda c: c.count(",") + 1,
        lambda c: count(c, brackets=False),
        lambda c: count(c, quotes=False),
        lambda c: count(c, markers=False)],
    4: [lambda train, test: constant(train, test, tie=max),  # the last in the alphabet
        lambda train, test: constant(train, test, by_kind=False),  # one answer for all kinds
        lambda train, test: constant(test, test),  # looks at the test
        lambda train, test: {k: v for k, v in constant(train, test).items() if k in dict(train)}],  # unknown kinds lost
    5: [lambda train, test: leaked(train, test, ends=0),
        lambda train, test: leaked(train, test, ends=9),  # all marks
        lambda train, test: leaked(train, test, spaces=False),
        lambda train, test: leaked(train, test, fold=str.lower),  # STRASSE
        lambda train, test: [test[i] for i in leaked(train, test)]],  # prompts, not places
}


@pytest.mark.parametrize("number", RIGHT)
def test_a_right_answer_is_accepted(number):
    "An independent solution passes."
    assert verdict(find(f"08a.{number}"), RIGHT[number]) == (True, "right")


@pytest.mark.parametrize("number, index", [(k, i) for k, answers in WRONG.items() for i in range(len(answers))])
def test_a_planted_mistake_is_rejected(number, index):
    "Each plausible mistake fails on some input."
    right, words = verdict(find(f"08a.{number}"), WRONG[number][index])
    assert not right and "expected" in words


@pytest.mark.parametrize("number", RIGHT)
def test_a_grader_has_inputs_and_hints(number):
    "At least twenty inputs, the same at each call, and three hints."
    exercise = find(f"08a.{number}")
    assert len(list(exercise.cases())) >= 20 and list(exercise.cases()) == list(exercise.cases())
    assert len(exercise.hints) == 3


@pytest.mark.parametrize("number", RIGHT)
def test_a_blank_is_not_a_mistake(number):
    "An unsolved exercise says so."
    assert verdict(find(f"08a.{number}"), lambda *_: ...) == (False, "not attempted yet")
