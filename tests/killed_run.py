"A small training run that tests kill: dropout (torch), a shuffle (Python's random), noise in the data (NumPy)."
import hashlib, json, random, sys, time
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from minillm import checkpoints
from minillm.minigpt import GPTConfig, MiniGPT

CONFIG = dict(vocab_size=32, max_seq_len=12, n_layer=1, n_head=2, n_kv_head=1, n_embd=16, intermediate_size=32, dropout=0.2)


class Batches:
    "Windows of a fixed sequence, shuffled anew for each epoch by Python's random."
    def __init__(self): self.ids, self.order = [i * i % 31 for i in range(120)], []

    def state_dict(self): return dict(order=self.order)
    def load_state_dict(self, state): self.order = state["order"]

    def next(self):
        if not self.order:
            self.order = list(range(0, 108, 6))
            random.shuffle(self.order)
        rows = [self.ids[i:i + 13] for i in (self.order.pop(), self.order.pop())]
        window = torch.tensor(rows)
        x = window[:, :-1].clone()
        x[torch.from_numpy(np.random.rand(*x.shape) < 0.1)] = 31  # some tokens are hidden
        return x, window[:, 1:]


def start(seed=5):
    torch.set_num_threads(1)
    torch.manual_seed(seed), np.random.seed(seed), random.seed(seed)
    model = MiniGPT(GPTConfig(**CONFIG))
    return model, torch.optim.AdamW(model.parameters(), lr=1e-2), Batches()


def one_step(model, optimizer, batches):
    x, y = batches.next()
    loss = F.cross_entropy(model(x).flatten(0, 1), y.flatten())
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


def run(root, max_steps=40, save_every=4, slow_s=0.0):
    "Train, saving now and then; the end is written to result.json. A slow disk gives killers a chance."
    model, optimizer, batches = start()
    if slow_s:
        fast = checkpoints.write_file
        def slow(path, data):
            time.sleep(slow_s)
            return fast(path, data)
        checkpoints.write_file = slow
    at = checkpoints.resume(root / "checkpoints", model, optimizer, batches) or dict(step=0, history=[])
    for step in range(at["step"] + 1, max_steps + 1):
        at["history"].append(one_step(model, optimizer, batches))
        if step % save_every == 0:
            state = checkpoints.save_state(model, optimizer, batches, history=at["history"])
            checkpoints.write_checkpoint(root / "checkpoints", step, state, score=at["history"][-1])
    weights = hashlib.sha256(b"".join(p.detach().numpy().tobytes() for p in model.parameters())).hexdigest()
    (root / "result.json").write_text(json.dumps(dict(history=at["history"], weights=weights)), encoding="utf-8")


if __name__ == "__main__": run(Path(sys.argv[1]))
