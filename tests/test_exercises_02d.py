"The graders of notebook 02d reject planted mistakes and accept right answers written anew."
import json
import re

import pytest

from minillm.exercises.grading import find, verdict


def parsed(line):
    try: return json.loads(line.decode("utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError): return None


def right_count(data):
    rows = [parsed(line) for line in data.splitlines() if line.strip()]
    good = sum(type(row) is dict and type(row.get("text")) is str for row in rows)
    return good, len(rows) - good


def right_encoding(body):
    for mark, name in ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16")):
        if body[:len(mark)] == mark: return name
    return "cp1252" if re.search("[\udc80-\udcff]", body.decode("utf-8", "surrogateescape")) else "utf-8"


def right_pieces(text, size):
    pieces, held = [], []
    for paragraph in text.split("\n\n") if text else []:
        if held and len("\n\n".join([*held, paragraph])) > size: pieces, held = pieces + ["\n\n".join(held)], []
        held.append(paragraph)
    return pieces + ["\n\n".join(held)] * bool(held)


def right_fields(record):
    head = record[:record.index(b"\r\n\r\n")].decode()
    return {name.lower(): value.strip() for name, value in re.findall(r"\r\n([^:\r\n]+):([^\r\n]*)", head)}


def right_unlink(text):
    return re.sub(r"\[\[([^\[\]]*)\]\]", lambda m: m[1].split("|")[-1], text)


RIGHT = {1: right_count, 2: right_encoding, 3: right_pieces, 4: right_fields, 5: right_unlink}
WRONG = {
    1: [lambda data: (sum(parsed(x) is not None for x in data.split(b"\n")), sum(parsed(x) is None for x in data.split(b"\n"))),  # blank lines counted as bad, any JSON as good
        lambda data: (right_count(data)[0], 0),  # silence
        lambda data: (sum(b'"text"' in x for x in data.split(b"\n")), right_count(data)[1]),  # looks at the name only
        lambda data: (sum("text" in (parsed(x) or ()) for x in data.split(b"\n") if isinstance(parsed(x), dict)), right_count(data)[1])],  # null is no text
    2: [lambda b: "utf-8" if right_encoding(b) == "utf-8-sig" else right_encoding(b),  # the mark stays in the text
        lambda b: "cp1252" if b[:2] == b"\xfe\xff" else right_encoding(b),  # one order of bytes forgotten
        lambda b: "utf-8",  # trust
        lambda b: right_encoding(b) if b[:1] in b"\xef\xff\xfe" or b.isascii() else "cp1252"],  # not ASCII, so not UTF-8
    3: [lambda t, n: right_pieces(t, n - 1),  # one too strict
        lambda t, n: right_pieces(t, n + 2),  # the newlines forgotten
        lambda t, n: [t[i:i + n] for i in range(0, len(t), n)],  # cut anywhere
        lambda t, n: right_pieces(t, n) or [""]],  # a piece of nothing
    4: [lambda r: {k: v for k, v in right_fields(r).items() if ":" not in v},  # values with colons lost
        lambda r: {k.title(): v for k, v in right_fields(r).items()},  # names as they stand
        lambda r: right_fields(r.replace(b"\r\n\r\n", b"\r\n") + b"\r\n\r\n"),  # reads on into the body
        lambda r: {k: v.split(":")[0] for k, v in right_fields(r).items()}],  # cut at every colon
    5: [lambda t: re.sub(r"\[\[(.*)\]\]", r"\1", t),  # greedy, label and all
        lambda t: re.sub(r"\[\[([^\[\]|]*)[^\[\]]*\]\]", r"\1", t),  # the target instead of the label
        lambda t: re.sub(r"[\[\]]", "", right_unlink(t)),  # single brackets lost
        lambda t: t.replace("[[", "").replace("]]", "")],  # brackets only
}


@pytest.mark.parametrize("number", RIGHT)
def test_a_right_answer_is_accepted(number):
    "An independent solution passes."
    assert verdict(find(f"02d.{number}"), RIGHT[number]) == (True, "right")


@pytest.mark.parametrize("number, index", [(k, i) for k, answers in WRONG.items() for i in range(len(answers))])
def test_a_planted_mistake_is_rejected(number, index):
    "Each plausible mistake fails on some input."
    right, words = verdict(find(f"02d.{number}"), WRONG[number][index])
    assert not right and "expected" in words


@pytest.mark.parametrize("number", RIGHT)
def test_a_grader_has_inputs_and_hints(number):
    "At least twenty inputs, the same at each call, and three hints."
    exercise = find(f"02d.{number}")
    assert len(list(exercise.cases())) >= 20 and list(exercise.cases()) == list(exercise.cases())
    assert len(exercise.hints) == 3


@pytest.mark.parametrize("number", RIGHT)
def test_a_blank_is_not_a_mistake(number):
    "An unsolved exercise says so."
    assert verdict(find(f"02d.{number}"), lambda *_: ...) == (False, "not attempted yet")
