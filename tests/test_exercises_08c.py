"The graders of notebook 08c reject planted mistakes and accept right answers written anew."
import pytest
import torch

from minillm.exercises.grading import find, verdict


def enough(change, share, total=lambda s: (s**2).sum().sqrt()):
    s = torch.linalg.svdvals(change)
    for r in range(len(s) + 1):
        if total(s[r:]) <= share*total(s): return r


def gradients(x, W, A, B, s, g):
    return g @ (W + s*B @ A), s*B.T @ g.T @ x, s*g.T @ x @ A.T


def per_row(x, W, A, B, scale, which, none=-1):
    out = x @ W.T
    for i, k in enumerate(which.tolist()):
        if k > none: out[i] += scale*(B[k] @ (A[k] @ x[i]))
    return out


RIGHT = {
    1: lambda shapes, ends, r, size: sum(size*r*shape[0] + size*r*shape[1] for name, shape in shapes.items() for end in ends if f".{name}".endswith(f".{end}")),
    2: enough,
    3: gradients,
    4: lambda x, W, A, B, s, m: (x @ (W + s*B @ A).T)*m/(W + s*B @ A).norm(dim=1),
    5: per_row,
    6: lambda A1, B1, s1, A2, B2, s2: (torch.vstack((A2*s2, A1)), torch.hstack((B2, B1*s1))) if len(A1) == len(A2) else (torch.cat((A1, A2)), torch.hstack((s1*B1, s2*B2))),
}
WRONG = {
    1: [lambda shapes, ends, r, size: sum(size*r*(o + i) for name, (o, i) in shapes.items() if any(end in name for end in ends)),  # anywhere in the name
        lambda shapes, ends, r, size: sum(size*r*(o + i) for name, (o, i) in shapes.items() if any(name.endswith(end) for end in ends)),  # my_q_proj
        lambda shapes, ends, r, size: sum(size*r*o*i for name, (o, i) in shapes.items() if name.split(".")[-1] in ends),  # the product
        lambda shapes, ends, r, size: sum(r*(o + i) for name, (o, i) in shapes.items() if name.split(".")[-1] in ends)],  # numbers, not bytes
    2: [lambda change, share: enough(change, share, torch.sum),  # values, not squares
        lambda change, share: enough(change, share**0.5),  # the share of the squares
        lambda change, share: max(1, enough(change, share)),  # rank 0 forgotten
        lambda change, share: min(change.shape)],  # all of it
    3: [lambda x, W, A, B, s, g: (g @ W, s*B.T @ g.T @ x, s*g.T @ x @ A.T),  # x through the adapter forgotten
        lambda x, W, A, B, s, g: (g @ (W + s*B @ A), B.T @ g.T @ x, g.T @ x @ A.T),  # no scale
        lambda x, W, A, B, s, g: (g @ (W + s*B @ A), s*x.T @ g @ B, s*A @ x.T @ g),  # transposed
        lambda x, W, A, B, s, g: (g @ (W + B @ A), s*B.T @ g.T @ x, s*g.T @ x @ A.T)],  # no scale in one of them
    4: [lambda x, W, A, B, s, m: x @ W.T*m/W.norm(dim=1) + s*x @ A.T @ B.T,  # the norm of W alone
        lambda x, W, A, B, s, m: x @ ((W + s*B @ A)/(W + s*B @ A).norm(dim=0)).T*m,  # columns
        lambda x, W, A, B, s, m: x @ (m[:, None]*(W + s*B @ A)).T,  # not divided
        lambda x, W, A, B, s, m: x @ (m[:, None]*(W + s*B @ A)/(W + s*B @ A).norm()).T],  # one norm for all
    5: [lambda x, W, A, B, s, which: per_row(x, W, A, B, s, which, none=-2),  # -1 is the last one
        lambda x, W, A, B, s, which: x @ W.T + s*x @ A[0].T @ B[0].T,  # one for all
        lambda x, W, A, B, s, which: per_row(x, W, A, B, 1.0, which),  # no scale
        lambda x, W, A, B, s, which: per_row(x, W, A, B, s, which.abs())],  # -1 read as 1
    6: [lambda A1, B1, s1, A2, B2, s2: (torch.cat([A1, A2]), torch.cat([B1, B2], 1)),  # no scales
        lambda A1, B1, s1, A2, B2, s2: (torch.cat([s1*A1, s2*A2]), torch.cat([s1*B1, s2*B2], 1)),  # twice
        lambda A1, B1, s1, A2, B2, s2: (A1, s1*B1),  # the second forgotten
        lambda A1, B1, s1, A2, B2, s2: (torch.cat([A1, A2]), torch.cat([s2*B2, s1*B1], 1))],  # crossed
}


@pytest.mark.parametrize("number", RIGHT)
def test_a_right_answer_is_accepted(number):
    "An independent solution passes."
    assert verdict(find(f"08c.{number}"), RIGHT[number]) == (True, "right")


@pytest.mark.parametrize("number, index", [(k, i) for k, answers in WRONG.items() for i in range(len(answers))])
def test_a_wrong_answer_is_rejected(number, index):
    "A planted mistake fails."
    assert not verdict(find(f"08c.{number}"), WRONG[number][index])[0]
