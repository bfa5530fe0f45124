"Exercises of notebook 03b: characters cut in two, the price of a language, unused tokens, the assistant's mask, digits."
import random

from minillm.exercises.grading import Exercise

START, END, LINE = 1, 2, 3  # Ids in the made-up conversations
SYSTEM, USER, ASSISTANT = 4, 5, 6


def broken(tokens):
    owner, where = [], {}
    for n, c in enumerate(b"".join(tokens).decode()): owner += [n] * len(c.encode())
    place = 0
    for k, token in enumerate(tokens):
        for n in owner[place:place + len(token)]: where.setdefault(n, set()).add(k)
        place += len(token)
    return sum(len(held) > 1 for held in where.values())


def premiums(counts, base):
    total = sum(counts[base])
    return {language: sum(found) / total for language, found in counts.items()}


def unused(tokens, merges):
    out, seen = [], set(tokens)
    for a, b in merges:
        if a + b not in seen: out.append(a + b)
        seen.add(a + b)
    return out


def assistant_mask(ids, start, end, assistant):
    mask, k = [0] * len(ids), 0
    while k < len(ids):
        if ids[k] != start:
            k += 1
            continue
        stop = next((j for j in range(k, len(ids)) if ids[j] == end), len(ids) - 1)
        if ids[k + 1] == assistant: mask[k + 3:stop + 1] = [1] * len(ids[k + 3:stop + 1])
        k = stop + 1
    return mask


def group_digits(text):
    out, i = [], 0
    while i < len(text):
        j = i
        is_digit = text[i] in "0123456789"
        while j < len(text) and (text[j] in "0123456789") == is_digit: j += 1
        if is_digit:
            first = (j - i) % 3 or 3
            out += [text[i:i + first], *(text[k:k + 3] for k in range(i + first, j, 3))]
        else: out.append(text[i:j])
        i = j
    return out


def cuts():
    rng = random.Random(0)
    cup, woman = "☕".encode(), "👩".encode()
    yield from (([],), ([b"a"],), ([b"a", b"b"],), ([cup],), ([cup[:1], cup[1:]],), ([cup[:2], cup[2:]],), ([cup[:1], cup[1:2], cup[2:]],),
                ([cup[:2], cup[2:] + cup],), ([b"a" + cup[:1], cup[1:] + cup[:1], cup[1:]],), ([woman[:1], woman[1:2], woman[2:3], woman[3:]],))
    for _ in range(20):
        data, tokens = "".join(rng.choices("ab ñ☕👩", k=rng.randint(2, 8))).encode(), []
        while data:
            n = rng.randint(1, 4)
            tokens.append(data[:n])
            data = data[n:]
        yield (tokens,)


def parallel():
    rng = random.Random(1)
    yield from (({"en": [2]}, "en"), ({"en": [2], "es": [4]}, "en"), ({"en": [1, 9], "es": [3, 9]}, "en"), ({"en": [1, 9], "es": [3, 9]}, "es"))
    for _ in range(20):
        n = rng.randint(2, 6)
        yield {language: [rng.randint(1, 40) for _ in range(n)] for language in ("en", "es", "tr", "hi")[:rng.randint(2, 4)]}, rng.choice(("en", "es"))


def learned():
    rng = random.Random(2)
    yield from (([], []), (["a"], []), (["a"], [("a", "b")]), (["ab"], [("a", "b")]), (["abc"], [("a", "b"), ("ab", "c")]),
                (["a"], [("b", "c"), ("a", "b"), ("a", "bc"), ("ab", "c")]), (["c"], [("b", "a"), ("a", "b")]))
    for _ in range(20):
        known, merges = list("abc"), []
        for _ in range(rng.randint(2, 8)):
            merges.append((rng.choice(known), rng.choice(known)))
            known.append("".join(merges[-1]))
        yield rng.choices(known, k=rng.randint(0, 8)), merges


def conversations():
    rng = random.Random(3)
    turn = lambda role, *content, closed=True: [START, role, LINE, *content, *[END] * closed]
    fixed = [], turn(USER, 9), turn(ASSISTANT, 9), turn(ASSISTANT, 9, closed=False), [*turn(USER, 9), LINE, *turn(ASSISTANT, 8)]
    open_turn = [*turn(USER, 9), LINE, START, ASSISTANT, LINE]
    tricky = turn(USER, ASSISTANT, 9), [*turn(SYSTEM, 7), LINE, *turn(USER, 9, ASSISTANT, LINE, 9), LINE, *turn(ASSISTANT, LINE, USER, 8), LINE]
    yield from ((ids, START, END, ASSISTANT) for ids in (*fixed, open_turn, *tricky))
    for _ in range(20):
        ids = turn(SYSTEM, *rng.choices(range(3, 12), k=2)) + [LINE] if rng.random() < 0.5 else []
        for k in range(rng.randint(1, 4)): ids += turn((USER, ASSISTANT)[k % 2], *rng.choices(range(3, 12), k=rng.randint(1, 4))) + [LINE]
        yield ids, START, END, ASSISTANT


def numbers():
    rng = random.Random(4)
    yield from (("",), ("a",), ("1",), ("123",), ("1234",), ("1234567",), ("x12",), ("12+3456=3468",), ("1,234.5678",), ("²34567",), ("٣1234",))
    for _ in range(20): yield ("".join(rng.choice(("ab +", "0123456789"))[rng.randrange(4)] for _ in range(rng.randint(2, 14))),)


EXERCISES = {
    1: Exercise(broken, cuts, [
        "A boundary between two tokens cuts a character if the next token begins inside one: its first byte is 10xxxxxx.",
        "A character of three bytes in three tokens has two such boundaries, and still is one character.",
        "Count a boundary only if the token before it is not made of inside bytes alone.",
    ]),
    2: Exercise(premiums, parallel, [
        "One sum for each language, then a division.",
        "The mean of ratios is another number: a short sentence would weigh as much as a long one.",
        "{language: sum(found)/sum(counts[base]) for language, found in counts.items()}.",
    ]),
    3: Exercise(unused, learned, [
        "A merge (a, b) makes the token a + b.",
        "Two merges may make the same token; dict.fromkeys keeps the first place of each.",
        "[token for token in dict.fromkeys(a + b for a, b in merges) if token not in tokens].",
    ]),
    4: Exercise(assistant_mask, conversations, [
        "Three tokens open a turn: the start, the role, the line end. What follows, up to and including `end`, is content.",
        "The id of the role may occur in somebody's content too: it is a role only right after `start`.",
        "Remember where the last `start` was, forget it after `end`; a token counts from the third one after it on.",
    ]),
    5: Exercise(group_digits, numbers, [
        "Only the first group of a run may be shorter than three.",
        "In a regular expression: one to three digits, followed by a multiple of three digits and then none.",
        r"[0-9]{1,3}(?=(?:[0-9]{3})*(?![0-9]))|[^0-9]+ (and not \d, which is any script's digit).",
    ]),
}
