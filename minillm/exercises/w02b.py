"Exercises of notebook 02b: symbols, telephone numbers, languages, mixtures and thresholds."
import random
import re

from minillm.clean import reweight
from minillm.exercises.grading import Exercise


def symbol_ratio(text):
    words = len(text.split())
    return max(text.count("#"), len(re.findall(r"\.\.\.|…", text)))/words if words else 0


def mask_phones(text):
    return re.sub(r"(?<!\d)(\+34 )?[67]\d\d \d{3} \d{3}(?!\d)", "<PHONE>", text)


def profile_distance(text_ranks, language_ranks, m):
    distance = 0
    for gram, rank in text_ranks.items():
        distance += abs(rank - language_ranks[gram]) if gram in language_ranks else m
    return distance


def epochs_of(counts, temperature, draws):
    return {name: draws*p/counts[name] for name, p in reweight(counts, temperature).items()}


def best_least(lengths, junk):
    best, best_f1 = 0, 0.0
    for least in sorted({n + 1 for n in lengths}):
        dropped = [j for n, j in zip(lengths, junk) if n < least]
        f1 = 2*sum(dropped)/(len(dropped) + sum(junk)) if any(dropped) else 0.0
        if f1 > best_f1 + 1e-12: best, best_f1 = least, f1
    return best


def marked_texts():
    rng = random.Random(0)
    yield from (("",), (" \n ",), ("#",), ("a # b",), ("a ...",), ("a… b…",), ("......",), ("#### a",))
    for _ in range(24):
        yield (" ".join(rng.choice(["word", "#", "...", "wait…", "C#", "#tag", "two", "end."]) for _ in range(rng.randint(1, 14))),)


def dialled_texts():
    rng = random.Random(1)
    digits = lambda n: "".join(rng.choice("0123456789") for _ in range(n))
    yield from (("612 345 678",), ("712 345 678",), ("+34 612 345 678",), ("812 345 678",), ("612345678",), ("1612 345 678",),
                ("612 345 6789",), ("612-345-678",), ("a612 345 678b",), ("34 612 345 678",), ("+34612 345 678",),
                ("612 345 678 612 345 678",), ("612  345 678",), ("1+34 612 345 678",))
    for _ in range(24):
        form = rng.choice(["{}{} {} {}", "+34 {}{} {} {}", "call {}{} {} {}.", "{}{}{}{}", "ISBN {}{} {} {}5"])
        yield (form.format(rng.choice("56789"), digits(2), digits(3), digits(3)),)


def rankings():
    rng = random.Random(2)
    yield from (({}, {}, 3), ({}, {"a": 0}, 3), ({"a": 0}, {"a": 0}, 3), ({"a": 0}, {}, 3), ({"a": 0, "b": 1}, {"b": 0, "a": 1}, 3))
    for _ in range(24):
        m = rng.randint(2, 12)
        sizes = rng.randint(1, m), rng.randint(1, m)
        yield *({g: r for r, g in enumerate(rng.sample("abcdefghijklmnop", size))} for size in sizes), m


def mixtures():
    rng = random.Random(3)
    yield from (({"en": 1}, 1.0, 1), ({"en": 8, "es": 2}, 1.0, 10), ({"en": 9, "es": 1}, 2.0, 4), ({"en": 900, "gl": 1}, 10.0, 100))
    for _ in range(24):
        names = rng.sample(["en", "es", "pt", "gl", "ca", "fr"], rng.randint(2, 5))
        yield {n: rng.randint(1, 5000) for n in names}, rng.uniform(0.5, 8), rng.randint(1, 10_000)


def judged_lengths():
    rng = random.Random(4)
    yield from (([], []), ([3], [False]), ([3], [True]), ([0, 4], [True, False]), ([2, 2, 9], [True, False, False]), ([9, 1], [True, False]))
    for _ in range(24):
        lengths = [rng.randint(0, 30) for _ in range(rng.randint(2, 20))]
        yield lengths, [rng.random() < (0.9 if n < 12 else 0.15) for n in lengths]


EXERCISES = {
    1: Exercise(symbol_ratio, marked_texts, [
        "Count three things in the text: words, hashes, ellipses.",
        "str.count counts without overlaps, and that is what is meant; both ways to write an ellipsis add up.",
        "max(hashes, ellipses)/words, and 0 where there is no word.",
    ]),
    2: Exercise(mask_phones, dialled_texts, [
        "One regular expression: a 6 or 7, two digits, a blank, three digits, a blank, three digits.",
        r"(?<!\d) in front and (?!\d) behind look at the neighbours without taking them.",
        "The prefix is an optional group; a digit may not stand before the prefix either, but +34 may be left alone where it does.",
    ]),
    3: Exercise(profile_distance, rankings, [
        "Go through the text's n-grams only.",
        "An n-gram that both have costs the difference of its two ranks, without sign.",
        "sum(abs(r - language_ranks[g]) if g in language_ranks else m for g, r in text_ranks.items())",
    ]),
    4: Exercise(epochs_of, mixtures, [
        "From a source with probability p, draws*p documents are drawn.",
        "They fall on the counts[name] documents that there are.",
        "draws*p/counts[name], with p proportional to counts[name]**(1/temperature).",
    ]),
    5: Exercise(best_least, judged_lengths, [
        "Try every threshold from 0 to one more than the longest page.",
        "F1 is 2*hits/(dropped + junk), which is the same as 2PR/(P + R) and needs no special case but hits = 0.",
        "Keep the first of several equal bests: compare with >, going upwards.",
    ]),
}
