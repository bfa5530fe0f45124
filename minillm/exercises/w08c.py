"Exercises of notebook 08c: bytes of an adapter, enough rank, gradients by hand, DoRA, an adapter for each row, two adapters in one."
import math, random

import torch

from minillm.exercises.grading import Exercise, agree
from minillm.lora import LowRank


def adapter_bytes(shapes, ends, rank, dtype_bytes):
    return dtype_bytes*rank*sum(sum(shape) for name, shape in shapes.items() if name.rpartition(".")[2] in ends)


def enough_rank(change, share):
    squares = torch.linalg.svdvals(change).square()
    left = [squares[r:].sum().item() for r in range(len(squares) + 1)]
    return next(r for r, error in enumerate(left) if error <= share**2*left[0])


def gradients(x, W, A, B, scale, g):
    x, A, B = (t.clone().requires_grad_() for t in (x, A, B))
    return torch.autograd.grad(LowRank.apply(x, W, None, A, B, scale), (x, A, B), g)


def dora(x, W, A, B, scale, magnitude):
    V = W + scale*B @ A
    return x @ (V*(magnitude/V.square().sum(1).sqrt())[:, None]).T


def per_row(x, W, A, B, scale, which):
    return torch.stack([row @ W.T + (scale*row @ A[k].T @ B[k].T if k >= 0 else 0) for row, k in zip(x, which.tolist())])


def join(A1, B1, scale1, A2, B2, scale2):
    return torch.cat([scale1*A1, scale2*A2]), torch.cat([B1, B2], 1)


def same_update(got, expected):
    "Shapes of A and B as asked, and the same product."
    if not (isinstance(got, tuple | list) and len(got) == 2 and all(isinstance(t, torch.Tensor) for t in got)): return False
    return all(t.shape == e.shape for t, e in zip(got, expected)) and agree(got[1] @ got[0], expected[1] @ expected[0])


def models():
    yield {"q_proj": (2, 3)}, ["q_proj"], 1, 4
    yield {"a.q_proj": (2, 3), "a.k_proj": (1, 3)}, ["q_proj"], 2, 2
    yield {"a.q_proj": (2, 3), "q_proj.other": (5, 3)}, ["q_proj"], 2, 2
    yield {"a.q_proj": (2, 3), "a.my_q_proj": (7, 7)}, ["q_proj", "v_proj"], 1, 1
    yield {}, ["q_proj"], 4, 4
    rng = random.Random(0)
    for _ in range(20):
        ends = ["q_proj", "k_proj", "up_proj", "down_proj"]
        shapes = {f"layers.{i}.{end}": (rng.randint(1, 64), rng.randint(1, 64)) for i in range(rng.randint(1, 3)) for end in ends}
        yield shapes, rng.sample(ends, rng.randint(1, 4)), rng.randint(1, 16), rng.choice((2, 4))


def changes():
    g, rng = torch.Generator().manual_seed(1), random.Random(1)
    yield torch.zeros(2, 3), 0.5
    yield torch.diag(torch.tensor([2.0, 1.0])), 1.0
    yield torch.diag(torch.tensor([2.0, 1.0])), 0.5
    yield torch.diag(torch.tensor([2.0, 1.0])), 0.3
    yield torch.diag(torch.tensor([3.0, 2.0, 1.0])), 0.5
    for _ in range(22):
        n_out, n_in = rng.randint(1, 9), rng.randint(1, 9)
        yield torch.randn(n_out, n_in, generator=g) @ torch.diag(torch.logspace(0, -2, n_in)), rng.uniform(0.02, 0.98)


def layers():
    g, rng = torch.Generator().manual_seed(2), random.Random(2)
    for n in range(22):
        N, n_in, n_out, R = (1, 1, 1, 1) if n == 0 else (1, 2, 3, 1) if n == 1 else [rng.randint(1, 6) for _ in range(4)]
        yield *(torch.randn(shape, generator=g) for shape in ((N, n_in), (n_out, n_in), (R, n_in), (n_out, R))), rng.choice((1.0, 2.0, 0.5, 0.25))


def backwards():
    g = torch.Generator().manual_seed(3)
    for x, W, A, B, scale in layers(): yield x, W, A, B, scale, torch.randn(len(x), len(W), generator=g)


def directions():
    g = torch.Generator().manual_seed(4)
    for x, W, A, B, scale in layers(): yield x, W, A, B, scale, torch.rand(len(W), generator=g) + 0.1


def mixtures():
    g, rng = torch.Generator().manual_seed(5), random.Random(5)
    for n in range(24):
        N, n_in, n_out, R, K = (1, 1, 1, 1, 1) if n < 2 else [rng.randint(1, 5) for _ in range(5)]
        which = torch.tensor([[0], [-1]][n] if n < 2 else [rng.randint(-1, K - 1) for _ in range(N)])
        x, W, A, B = (torch.randn(shape, generator=g) for shape in ((N, n_in), (n_out, n_in), (K, R, n_in), (K, n_out, R)))
        yield x, W, A, B, rng.choice((1.0, 2.0, 0.5)), which


def pairs():
    g, rng = torch.Generator().manual_seed(6), random.Random(6)
    for n in range(22):
        n_in, n_out, R1, R2 = (1, 1, 1, 1) if n == 0 else [rng.randint(1, 5) for _ in range(4)]
        A1, B1, A2, B2 = (torch.randn(shape, generator=g) for shape in ((R1, n_in), (n_out, R1), (R2, n_in), (n_out, R2)))
        yield A1, B1, rng.choice((1.0, 2.0, 0.5)), A2, B2, rng.choice((1.0, 3.0, math.sqrt(2)))


EXERCISES = {
    1: Exercise(adapter_bytes, models, ["A is (R, I), B is (O, R): how many numbers are that together?", "The last part of a name is what follows its last dot.",
                                        "my_q_proj does not count as q_proj, nor does q_proj.other."]),
    2: Exercise(enough_rank, changes, ["The singular values alone decide.", "What rank r misses is the root of the sum of the squares from r on.",
                                       "Try the ranks from 0 up; rank 0 misses everything, and of zeros nothing."]),
    3: Exercise(gradients, backwards, ["s (g B) is the gradient of the R numbers between A and B.", "x gets a share through W and one through A.",
                                       "The gradient of B is s g^T (x A^T), that of A is (s g B)^T x."]),
    4: Exercise(dora, directions, ["Build V first; it is as large as W.", "A row's norm: the root of the sum of its squares, over the inputs.",
                                   "Scale rows, not columns: magnitude has one number for each output."]),
    5: Exercise(per_row, mixtures, ["A loop over the rows is a right answer.", "A[which] picks each row's matrices at once, (N, R, I).",
                                    "-1 would pick the last adapter: set its update to zero."]),
    6: Exercise(join, pairs, ["A product over a longer inner dimension is a sum of two products.", "Stack the A's as rows and the B's as columns.",
                              "Each scale goes into one of its two factors, once."], same_update),
}
