"Exercises of notebook 02d: counting lines, guessing an encoding, cutting text, a WARC header, links of wikitext."
import json
import random
import re

from minillm.exercises.grading import Exercise

WORDS = "a heap is list that keeps its smallest item first año pequeño montículo primero 山 𝛑".split()


def count_lines(data):
    good = bad = 0
    for line in data.split(b"\n"):
        if not line.strip(): continue
        try: row = json.loads(line)
        except ValueError: row = None
        fine = isinstance(row, dict) and isinstance(row.get("text"), str)
        good, bad = good + fine, bad + (not fine)
    return good, bad


def guess_encoding(body):
    if body.startswith(b"\xef\xbb\xbf"): return "utf-8-sig"
    if body.startswith((b"\xff\xfe", b"\xfe\xff")): return "utf-16"
    try: body.decode("utf-8")
    except UnicodeDecodeError: return "cp1252"
    return "utf-8"


def cut_pieces(text, size):
    pieces = []
    for paragraph in text.split("\n\n") if text else []:
        if pieces and len(pieces[-1]) + 2 + len(paragraph) <= size: pieces[-1] += "\n\n" + paragraph
        else: pieces.append(paragraph)
    return pieces


def warc_fields(record):
    lines = record.partition(b"\r\n\r\n")[0].decode("utf-8").split("\r\n")[1:]
    return {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}


def unlink(text): return re.sub(r"\[\[(?:[^\[\]|]*\|)?([^\[\]|]*)\]\]", r"\1", text)


def sentence(rng, most=6): return " ".join(rng.choices(WORDS, k=rng.randint(1, most)))


def json_lines():
    yield from ((b"",), (b'{"text": "a"}',), (b'{"text": "a"}\n',), (b'{"text": "a"}\n\n \t\n{"text": "b"}',), (b'{"body": "a"}',),
                (b'{"text": null}',), (b'["text"]',), (b'"text"',), (b'{"text": "cut o',), (b'{"text": "\xff"}',), (b'{"text": ""}\r\n7\r\n',))
    rng = random.Random(0)
    kinds = [lambda: json.dumps(dict(text=sentence(rng))), lambda: json.dumps(dict(text=sentence(rng)), ensure_ascii=False),
             lambda: json.dumps(dict(title=sentence(rng))), lambda: json.dumps([sentence(rng)]), lambda: json.dumps(dict(text=rng.choice([1, None, ["a"]]))),
             lambda: json.dumps(dict(text=sentence(rng)))[:-rng.randint(1, 9)], lambda: " " * rng.randint(0, 3), lambda: json.dumps(rng.choice([True, 3, "text"]))]
    for n in range(20): yield ("\n".join(rng.choice(kinds)() for _ in range(n)).encode(),)


def bodies():
    yield from ((b"",), (b"heap",), (b"\xef\xbb\xbfheap",), (b"\xff\xfeh\0",), (b"\xfe\xff\0h",), (b"a\xf1o",), ("año".encode(),), (b"\xef\xbb",), (b"\xed\xa0\x80",), (b"\xc0\xaf",))
    rng = random.Random(1)
    for n in range(24):
        text = sentence(rng, 1 + n)
        yield (text.encode(rng.choice(["utf-8", "utf-8-sig", "utf-16", "cp1252"]), "ignore"),)
        yield (text.encode("utf-8") + b"\xff",)


def long_texts():
    yield from (("", 5), ("heap", 5), ("heap", 2), ("a\n\nb", 4), ("a\n\nb", 3), ("a\n\nb\n\nc", 4), ("a\n\nlonger\n\nb", 3), ("a\nb\n\nc", 6))
    rng = random.Random(2)
    for n in range(24): yield "\n\n".join(sentence(rng) for _ in range(1 + n // 2)), rng.randint(1, 80)


def records():
    def made(fields, body=b""): return "\r\n".join(["WARC/1.0", *fields]).encode() + b"\r\n\r\n" + body
    yield from ((made(["WARC-Type: response"]),), (made(["WARC-Target-URI: https://example.org:80/a?b=c:d", "Content-Length: 0"]),),
                (made(["WARC-Type:conversion", "Content-Length:   4 "], b"heap\r\n\r\n"),), (made(["Content-Type: text/plain"], b"WARC-Type: fake\r\n\r\n"),))
    rng = random.Random(3)
    names = ["WARC-Type", "WARC-Date", "warc-record-id", "Content-Length", "Content-Type", "WARC-Target-URI"]
    values = ["response", "2026-11-21T16:00:00Z", "<urn:uuid:1-2>", "12", "text/html; charset=utf-8", "https://example.org/a:b", "https://example.org/año"]
    for n in range(20):
        fields = [f"{name}:{' ' * rng.randint(0, 2)}{rng.choice(values)}{' ' * rng.randint(0, 1)}" for name in rng.sample(names, rng.randint(1, 6))]
        yield (made(fields, f"A: b\r\n\r\n{sentence(rng)}\r\n\r\n".encode()),)


def marked():
    yield from (("",), ("heap",), ("[[heap]]",), ("[[heap (data)|heaps]]",), ("a [heap] of",), ("[[a]][[b|c]]",), ("[[a]] [1] [[b]]",), ("[[a\nb]]",), ("x]] [[a|b]]",))
    rng = random.Random(4)
    kinds = [lambda: sentence(rng), lambda: f"[[{sentence(rng, 2)}]]", lambda: f"[[{sentence(rng, 3)}|{sentence(rng, 2)}]]", lambda: f"[{sentence(rng, 2)}]", lambda: "a|b"]
    for n in range(20): yield (" ".join(rng.choice(kinds)() for _ in range(1 + n)),)


EXERCISES = {
    1: Exercise(count_lines, json_lines, [
        "Three questions to a line: is it blank, is it JSON, is it the right JSON?",
        "json.loads takes bytes and raises a ValueError for bad JSON and for bad UTF-8 alike.",
        "fine = isinstance(row, dict) and isinstance(row.get('text'), str)",
    ]),
    2: Exercise(guess_encoding, bodies, [
        "The marks first: bytes have startswith, and it takes a tuple.",
        "UTF-16 has two marks, one for each order of its bytes.",
        "try: body.decode('utf-8'); a UnicodeDecodeError means cp1252.",
    ]),
    3: Exercise(cut_pieces, long_texts, [
        "Keep a list of pieces; the last one is the present one.",
        "The two newlines between paragraphs count as well.",
        "if pieces and len(pieces[-1]) + 2 + len(paragraph) <= size: pieces[-1] += '\\n\\n' + paragraph",
    ]),
    4: Exercise(warc_fields, records, [
        "Cut at the first empty line, then at line ends; leave the first line out.",
        "Only the first colon separates: line.partition(':').",
        "{name.lower(): value.strip() for name, _, value in (line.partition(':') for line in lines)}",
    ]),
    5: Exercise(unlink, marked, [
        "One regular expression with one group for what is shown is enough.",
        "Inside a link stands no bracket: [^\\[\\]].",
        "The part before the bar may be missing: (?:[^\\[\\]|]*\\|)? before the group.",
    ]),
}
