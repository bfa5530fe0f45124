"Exercises of notebook 05a: what was read, files together, words, a code read backwards, the share of a peak."
import math
import random

from minillm.exercises.grading import Exercise


def past(n_tokens, window, stride):
    out, first = [], 0
    while len(out) < n_tokens - 1:
        new = min(stride if out else window, n_tokens - 1 - len(out))
        stop = len(out) + new
        first = max(0, stop - window)
        out += [k - first for k in range(len(out) + 1, stop + 1)]
    return out


def pooled(parts):
    return sum(mean * n for mean, n, _ in parts) / sum(n_bytes for _, _, n_bytes in parts) / math.log(2)


def per_word(perplexity, n_tokens, n_words):
    return math.exp(math.log(perplexity) * n_tokens / n_words)


def decode(x, shares, n):
    if not n: return []
    low = 0
    for token, share in enumerate(shares):
        if x < low + share or token == len(shares) - 1: return [token, *decode((x - low) / share, shares, n - 1)]
        low += share


def utilisation(step_s, n_tokens, n_params, peak_flops, n_gpus):
    return 6 * n_params * n_tokens / (step_s * peak_flops * n_gpus)


def texts():
    rng = random.Random(0)
    yield from ((2, 1, 1), (2, 4, 4), (5, 4, 4), (6, 4, 4), (6, 4, 2), (6, 4, 1), (9, 4, 2), (20, 8, 3))
    for _ in range(20):
        window = rng.randint(1, 9)
        yield rng.randint(2, 40), window, rng.randint(1, window)


def files():
    rng = random.Random(1)
    yield from (([(math.log(2), 1, 1)],), ([(math.log(2), 8, 4)],), ([(1.0, 10, 10), (1.0, 10, 10)],), ([(1.0, 1, 4), (3.0, 9, 10)],))
    for _ in range(20): yield ([(rng.uniform(0.5, 5), rng.randint(1, 90), rng.randint(90, 400)) for _ in range(rng.randint(1, 4))],)


def perplexities():
    rng = random.Random(2)
    yield from ((2.0, 3, 3), (2.0, 6, 3), (1.0, 9, 3), (4.0, 3, 6), (3.5, 10, 7))
    for _ in range(20): yield rng.uniform(1, 30), rng.randint(20, 60), rng.randint(20, 40)


def codes():
    rng = random.Random(3)
    yield from ((0.0, [0.5, 0.5], 0), (0.0, [0.5, 0.5], 1), (0.5, [0.5, 0.5], 1), (0.75, [0.5, 0.5], 2), (0.25, [0.5, 0.25, 0.25], 2),
                (0.625, [0.5, 0.25, 0.25], 2), (0.6875, [0.25, 0.75], 3), (0.999, [0.25, 0.25, 0.5], 4))
    for _ in range(20):
        shares = [rng.randint(1, 4) / 16 for _ in range(rng.randint(1, 3))]
        yield rng.randrange(1024) / 1024 + 1 / 4096, [*shares, 1 - sum(shares)], rng.randint(1, 5)


def runs():
    rng = random.Random(4)
    yield from ((1.0, 1, 1, 6.0, 1), (2.0, 1, 1, 6.0, 1), (1.0, 10, 1, 60.0, 1), (1.0, 1, 1, 6.0, 2), (0.5, 8, 100, 1e5, 1))
    for _ in range(20): yield rng.uniform(0.1, 3), rng.randint(1000, 500_000), rng.randint(10**6, 10**9), 10 ** rng.uniform(12, 15), rng.randint(1, 64)


EXERCISES = {
    1: Exercise(past, texts, [
        "A window (start, stop, new) asks for the tokens stop - new + 1 to stop.",
        "Token k of the text was read with the tokens start to k - 1 before it: k - start of them.",
        "The last window is full, too: it moves back, and its tokens have more past than a stride would give.",
    ]),
    2: Exercise(pooled, files, [
        "A mean over tokens times their number is a sum, and sums may be added.",
        "One division at the end, by all bytes together; a mean of the files' figures would weigh a short file like a long one.",
        "Bytes divide, tokens only multiply: two files of equal mean nats may differ in bytes per token.",
    ]),
    3: Exercise(per_word, perplexities, [
        "What stays the same is the cost of the whole text: n_tokens * ln(perplexity) nats.",
        "Share it among the words, then exponentiate.",
        "Check: with as many words as tokens nothing changes, and with two tokens a word the perplexity is squared.",
    ]),
    4: Exercise(decode, codes, [
        "Token k owns the numbers from sum(shares[:k]) on, up to but not including sum(shares[:k + 1]).",
        "After a token, stretch its share to the whole interval: x = (x - low) / share.",
        "Let the last token own whatever is left, so that rounding cannot lose a number.",
    ]),
    5: Exercise(utilisation, runs, [
        "Needed work: 6 * n_params for each token.",
        "Possible work: step_s * peak_flops on each device.",
        "Twice the devices in the same time: half the utilisation.",
    ]),
}
