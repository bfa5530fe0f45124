"Exercises of notebook 08a: turns merged, examples of a chat, counting arguments, the constant answer, prompts that leak."
import ast
import itertools
import random
import re

from minillm.exercises.grading import Exercise


def merge_turns(messages):
    runs = itertools.groupby(messages, key=lambda m: m["role"])
    return [dict(role=role, content="\n\n".join(m["content"] for m in run)) for role, run in runs]


def examples_of(messages):
    out, before = [], []
    for m in messages:
        if m["role"] == "assistant": out.append((list(before), m["content"]))
        before.append(m)
    return out


def count_arguments(call):
    args = ast.parse(f"def {call}: pass").body[0].args
    return len(args.posonlyargs) + len(args.args) + len(args.kwonlyargs)


def constant_baseline(train, test):
    def usual(kind):
        answers = sorted(a for k, a in train if k == kind)
        return max(answers, key=answers.count, default=None)  # the first of several, as they are sorted
    return {kind: sum(a == usual(kind) for k, a in test if k == kind) / sum(k == kind for k, _ in test) for kind in dict(test)}


def leaks(train, test):
    def key(prompt): return re.sub(r"\s*[.?!]$", "", " ".join(prompt.casefold().split()))
    return [i for i, prompt in enumerate(test) if key(prompt) in [key(p) for p in train]]


def said(*pairs): return [dict(role=dict(s="system", u="user", a="assistant")[who], content=text) for who, text in pairs]


def chats():
    rng = random.Random(0)
    yield from (([],), (said(("u", "Hi.")),), (said(("u", "Hi."), ("a", "Hello.")),), (said(("u", "Hi."), ("u", "You there?"), ("a", "Yes.")),),
                (said(("s", "Be brief."), ("u", "Hi."), ("a", "Hello."), ("a", "How are you?"), ("a", "Well?")),),
                (said(("u", "a"), ("a", "b"), ("u", "c"), ("u", "d"), ("a", "e")),))
    for _ in range(20): yield (said(*((rng.choice("uua"), rng.choice(("Yes.", "No.", "Why?", "Go on."))) for _ in range(rng.randint(1, 7)))),)


def dialogues():
    rng = random.Random(1)
    yield from (([],), (said(("u", "Hi.")),), (said(("u", "Hi."), ("a", "Hello.")),), (said(("s", "Be brief."), ("u", "Hi."), ("a", "Hello.")),),
                (said(("u", "a"), ("a", "b"), ("u", "c"), ("a", "d")),), (said(("u", "a"), ("a", "b"), ("u", "c")),))
    for _ in range(20):
        n, start = rng.randint(1, 8), rng.randint(0, 1)
        yield (said(*[("s", "Be kind.")] * start, *(("ua"[i % 2], rng.choice(("Yes.", "No.", "Why?"))) for i in range(n))),)


def calls():
    rng = random.Random(2)
    for call in ("f()", "f(a)", "f(a, b)", "wrap(text, width=70)", "f(a, /)", "f(*, a)", "f(a, /, b, *, c=None)", "f(a=(1, 2))", "f(a=(), b=[1, 2], c={})",
                 "join(sep=', ')", "f(a='(', b=')')", 'f(a="it\'s, so", b=1)', "f(a=((1, 2), (3, 4)), *, b=', ')", "f(a: dict[str, int]={}, b=0)"): yield (call,)
    parts = ("a{}", "a{}=None", "a{}=(0, 1)", "a{}=','", "a{}=[]", "a{}='(['")
    for _ in range(16):
        plain = [f"a{i}" for i in range(rng.randint(0, 2))]
        marked = ["/"] if plain and rng.random() < 0.5 else []
        only = [p.format(f"k{i}") for i, p in enumerate(rng.choices(parts, k=rng.randint(1, 3)))]
        yield (f"f({', '.join(plain + marked + ['*'] + only)})",)


def answer_sets():
    rng = random.Random(3)
    yield from (([], []), ([("count", "1")], []), ([("count", "1")], [("count", "1")]), ([("count", "2")], [("count", "1")]), ([], [("count", "1")]),
                ([("count", "2"), ("count", "1")], [("count", "1"), ("count", "1"), ("count", "2")]),
                ([("what", "x"), ("count", "2"), ("count", "2"), ("what", "x"), ("count", "1")], [("what", "y"), ("count", "2"), ("count", "1")]))
    def draw(n): return [(rng.choice(("what", "count", "module")), rng.choice("012")) for _ in range(n)]
    for _ in range(20): yield draw(rng.randint(0, 9)), draw(rng.randint(1, 9))


def prompt_sets():
    rng = random.Random(4)
    yield from (([], []), (["What is a?"], ["What is a?"]), (["What is a?"], ["What is b?"]), (["What is a?"], ["what  is A"]), (["What is a"], ["Hi.", "What is a ?"]),
                (["What is a.b?"], ["What is a.b."]), (["Hi!"], ["Hi!!"]), ([" Hi "], ["hi", "Ho", "HI."]), (["Straße?"], ["STRASSE"]), (["f(a, b)"], ["f(a,b)"]), ([""], [""]), (["."], ["", "?"]))
    def draw(n): return [rng.choice(("What", "what ", " WHAT")) + " " + rng.choice(("is", "IS")) + rng.choice((" ", "\n")) + rng.choice("abc") + rng.choice(("?", "", ".", " ?", "?!")) for _ in range(n)]
    for _ in range(20): yield draw(rng.randint(0, 3)), draw(rng.randint(1, 5))


EXERCISES = {
    1: Exercise(merge_turns, chats, [
        "Walk through the messages; compare each role with that of the last message you have put out.",
        "The same role: append \"\\n\\n\" and the content to it. Another one: put out a new message.",
        "dict(m) makes a copy, so that the messages you were given are not changed.",
    ]),
    2: Exercise(examples_of, dialogues, [
        "One pair for each message whose role is 'assistant', wherever it stands.",
        "With enumerate, the messages before number i are messages[:i], earlier answers included.",
        "The answer is the content, not the whole message.",
    ]),
    3: Exercise(count_arguments, calls, [
        "Only a comma outside all brackets and quotation marks parts two arguments: keep count of the depth.",
        "Inside quotation marks nothing counts, no bracket either, until the same mark comes again.",
        "Then leave out the parts that are empty, '/' or '*'.",
    ]),
    4: Exercise(constant_baseline, answer_sets, [
        "For each kind of the test: a Counter of training's answers of that kind.",
        "Of several that are equally frequent: min(counter, key=lambda a: (-counter[a], a)).",
        "Divide by the number of test answers of this kind; where training has none, the score is 0.",
    ]),
    5: Exercise(leaks, prompt_sets, [
        "Write a function that makes the same key of all prompts that are to count as equal.",
        "' '.join(prompt.casefold().split()) takes care of case and white space.",
        "Take one mark from the end, not all: 'Hi!!' is not 'Hi!'. And what is left may end in a space.",
    ]),
}
