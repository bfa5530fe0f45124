"Exercises of notebook 04b: the cache's bytes, a filter, repetitions, whole characters, speculation."
import random

import torch

from minillm.exercises.grading import Exercise


def cache_bytes(n_layer, n_kv_head, head_dim, n_tokens, batch_size, bytes_per_number):
    return 2*n_layer*batch_size*n_kv_head*n_tokens*head_dim*bytes_per_number


def epsilon_filter(logits, epsilon):
    probs = logits.softmax(-1)
    return logits.masked_fill((probs < epsilon) & (probs < probs.amax(-1, keepdim=True)), -torch.inf)


def repeats(ids, n):
    tail = tuple(ids[len(ids) - n + 1:])
    return sorted({ids[i + n - 1] for i in range(len(ids) - n + 1) if tuple(ids[i:i + n - 1]) == tail})


def whole_characters(data):
    for n in range(len(data), -1, -1):
        try: data[:n].decode("utf-8")
        except UnicodeDecodeError: continue
        return n


def tokens_per_pass(p, q, n_draft):
    alpha = torch.minimum(p, q).sum().item()
    return sum(alpha**i for i in range(n_draft + 1))


def shapes():
    rng = random.Random(0)
    yield from ((1, 1, 1, 1, 1, 1), (1, 1, 2, 3, 1, 2), (2, 1, 2, 3, 4, 2))
    for _ in range(24): yield rng.randint(1, 80), rng.randint(1, 16), 2*rng.randint(8, 64), rng.randint(1, 8192), rng.randint(1, 64), rng.choice((1, 2, 4))


def rows():
    draw = torch.Generator().manual_seed(1)
    yield torch.tensor([[0.5, 0.3, 0.2]]).log(), 0.25
    yield torch.tensor([[0.5, 0.3, 0.2], [0.4, 0.35, 0.25]]).log(), 0.9  # only the likeliest is left
    for i in range(24): yield 2*torch.randn(1 + i % 4, 3 + i, generator=draw), (0.0, 0.02, 0.1, 0.3, 0.99)[i % 5]


def texts():
    rng = random.Random(2)
    yield from (([1, 2, 3, 1, 2], 3), ([1, 2, 1], 2), ([5, 4, 5], 1), ([1], 3), ([1, 2], 3), ([7, 7], 2), ([7, 7, 7], 3))
    for _ in range(24): yield [rng.randint(0, 3) for _ in range(rng.randint(1, 30))], rng.randint(1, 4)


def beginnings():
    rng = random.Random(3)
    yield from ((b"",), (b"a",), ("é".encode(),), ("é".encode()[:1],), ("a€".encode()[:2],), ("a€".encode()[:3],), ("🙂".encode()[:3],), ("🙂".encode(),))
    for _ in range(24):
        data = "".join(rng.choice("aé€🙂 ñ日\n") for _ in range(rng.randint(1, 9))).encode()
        yield (data[:rng.randint(0, len(data))],)


def drafts():
    draw, rng = torch.Generator().manual_seed(4), random.Random(4)
    yield torch.tensor([0.5, 0.5]), torch.tensor([0.5, 0.5]), 1
    yield torch.tensor([0.5, 0.5]), torch.tensor([1.0, 0.0]), 2
    yield torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0]), 3
    for _ in range(24): yield *(2*torch.randn(2, rng.randint(2, 8), generator=draw)).softmax(-1), rng.randint(1, 8)


EXERCISES = {
    1: Exercise(cache_bytes, shapes, [
        "How many numbers does one position keep in one layer?",
        "G heads of D numbers, once for the keys and once for the values.",
        "Then for every layer, every token, every text; a product of seven factors, one of them 2.",
    ], lambda got, expected: got == expected),
    2: Exercise(epsilon_filter, rows, [
        "Compare probabilities with epsilon, not logits.",
        "Where epsilon is larger than every probability, what must be left?",
        "Drop where probs < epsilon and probs < probs.amax(-1, keepdim=True); masked_fill makes a new tensor.",
    ]),
    3: Exercise(repeats, texts, [
        "The last n - 1 tokens are the beginning of the n-gram that comes next.",
        "Where in ids does that beginning stand, with one more token after it? Those tokens are the answer.",
        "With n = 1 the beginning is empty: mind that ids[-0:] is everything. Start it at len(ids) - n + 1.",
    ]),
    4: Exercise(whole_characters, beginnings, [
        "Only the last three bytes can belong to a character that is not whole.",
        "Walk back to the last byte that begins a character: 0xC0 or more, or below 0x80.",
        "If that byte asks for more bytes than there are from it on, cut before it; else show all.",
    ]),
    5: Exercise(tokens_per_pass, drafts, [
        "A guess x comes with probability q(x) and is kept with min(1, p(x)/q(x)).",
        "So alpha is the sum of min(p, q). A pass brings one token, one more if the first guess is kept, ...",
        "The chance that the first i guesses are all kept is alpha**i; with alpha = 1 the sum is n_draft + 1.",
    ]),
}
