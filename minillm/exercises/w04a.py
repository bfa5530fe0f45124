"Exercises of notebook 04a: norm, width, rotation, a merged softmax, the cache, and a layout."
import math, random

import torch

from minillm.exercises.grading import Exercise
from minillm.minigpt import GPTConfig, RMSNorm, kv_cache_bytes, rope_frequencies, rotate


def exactly(got, expected) -> bool:
    "Whole numbers of things must be met exactly, as an int or as a float without a fraction."
    return isinstance(got, int | float) and not isinstance(got, bool) and got == expected


def rms_norm(x, weight, eps):
    norm = RMSNorm(x.shape[-1], eps)
    norm.weight.data = weight
    return norm(x).detach()


def swiglu_width(n_embd, multiple):
    width = multiple
    while 3*width < 8*n_embd: width += multiple
    return width


def rope(x, position, theta):
    frequency = rope_frequencies(GPTConfig(head_dim=len(x), rope_theta=theta))
    angle = (position*frequency).repeat(2)
    return rotate(x, angle.cos(), angle.sin())


def merge(a, b):
    top = max(a[0], b[0])
    left, right = math.exp(a[0] - top), math.exp(b[0] - top)
    return top, left*a[1] + right*b[1], left*a[2] + right*b[2]


def tokens_that_fit(memory, n_params, n_layer, n_kv_head, head_dim):
    config = GPTConfig(n_layer=n_layer, n_head=n_kv_head, n_kv_head=n_kv_head, head_dim=head_dim)
    return max(0, memory - 2*n_params)//kv_cache_bytes(config, seq_len=1)


def to_halves(weight, n_head):
    D = len(weight)//n_head
    order = [head*D + i + odd for head in range(n_head) for odd in (0, 1) for i in range(0, D, 2)]
    return weight[order]


def random_tensors(seed): return torch.Generator().manual_seed(seed)


def vectors():
    g = random_tensors(0)
    yield torch.tensor([3.0, 4.0]), torch.ones(2), 0.0
    yield torch.zeros(1, 4), torch.ones(4), 1e-5
    for i in range(24):
        C = 2 + 3*i % 17
        shape = ((C,), (3, C), (2, 3, C))[i % 3]
        yield torch.randn(shape, generator=g) + i % 4, torch.randn(C, generator=g), (1e-5, 1e-6, 0.5)[i % 3]


def widths():
    rng = random.Random(1)
    yield from ((3, 8), (3, 1), (4, 1), (64, 64), (96, 256), (4096, 256), (5120, 256))
    for _ in range(20): yield rng.randint(1, 9000), rng.choice((1, 8, 32, 64, 256))


def places():
    g = random_tensors(2)
    yield torch.tensor([1.0, 0.0]), 1, 10_000.0
    yield torch.tensor([1.0, 0.0, 0.0, 0.0]), 1, 10_000.0
    for i in range(24): yield torch.randn(2*(1 + i % 8), generator=g), (0, 1, 3, 50, 400)[i % 5], (10_000.0, 100.0, 5e5)[i % 3]


def partials():
    g = random_tensors(3)
    def part(top, n, D):
        s = top + torch.randn(n, generator=g)
        p = (s - s.max()).exp()
        return s.max().item(), p.sum().item(), p @ torch.randn(n, D, generator=g)
    yield (0.0, 1.0, torch.tensor([1.0])), (0.0, 1.0, torch.tensor([3.0]))
    yield (1.0, 1.0, torch.tensor([1.0])), (0.0, 2.0, torch.tensor([3.0]))
    for i in range(24): yield part(i % 3, 1 + i % 5, 3), part((-2, 0, 1, 800)[i % 4], 1 + i % 7, 3)


def cards():
    rng = random.Random(4)
    yield from ((28, 10, 1, 1, 2), (27, 10, 1, 1, 2), (10, 10, 1, 1, 2), (40*10**9, 7*10**9, 32, 32, 128))
    for _ in range(24):
        n_params, shape = rng.randint(10**3, 10**8), (rng.randint(1, 40), rng.randint(1, 16), 2*rng.randint(4, 64))
        yield 2*n_params + rng.randint(-10**3, 10**8), n_params, *shape


def projections():
    g = random_tensors(5)
    yield torch.arange(4.0)[:, None], 1
    yield torch.arange(8.0)[:, None], 2
    yield torch.arange(8.0)[:, None], 1
    for i in range(24):
        n_head, D = 1 + i % 5, 2*(1 + i % 4)
        yield torch.randn(n_head*D, 1 + i % 6, generator=g), n_head


EXERCISES = {
    1: Exercise(rms_norm, vectors, [
        "No mean is subtracted: square, average over the last dimension, add eps.",
        "keepdim=True keeps the shape (..., 1), so that each vector is divided by its own root.",
        "eps stands under the root, and the weight multiplies at the end.",
    ]),
    2: Exercise(swiglu_width, widths, [
        "How many multiples are needed: a division, rounded up.",
        "Without floats: the least whole w with 3*w >= 8*n_embd; -(-a//b) rounds a/b up.",
        "How many multiples of 3*multiple cover 8*n_embd, rounded up?",
    ], exactly),
    3: Exercise(rope, places, [
        "Pair i is (x[i], x[i + D/2]); its angle is position*theta**(-2*i/D).",
        "A point (a, b) turned by t is (a*cos t - b*sin t, b*cos t + a*sin t).",
        "torch.cat of both halves turned; the angles are position*theta**-(torch.arange(0, D, 2)/D).",
    ]),
    4: Exercise(merge, partials, [
        "Both sums must refer to the same top first: the larger one.",
        "A sum made under `top` is multiplied by exp(top - new), never by exp(new - top): that one overflows.",
        "new = max; fix = exp(top - new) of each side; total and mix are the fixed sums added.",
    ]),
    5: Exercise(tokens_that_fit, cards, [
        "The weights take 2 bytes each; what is left is the cache's.",
        "A token stores keys and values: two vectors of n_kv_head*head_dim numbers in each layer.",
        "Keys and values, two bytes each: 4 bytes a number; whole tokens only, and never below 0.",
    ], exactly),
    6: Exercise(to_halves, projections, [
        "Each head is sorted for itself: view the rows as (n_head, D, C) first.",
        "Rows 0, 2, 4, ... of a head come first, then 1, 3, 5, ...",
        "view(n_head, D//2, 2, C), exchange the two middle dimensions, reshape.",
    ]),
}
