"train: equal to the other trainers, killed and continued to the bit, and a guard for each thing that goes wrong."
import ast
import inspect
import json
import math
import os
import random
import re
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from minillm import train as module
from minillm.checkpoints import checkpoints
from minillm.minigpt import GPTConfig, MiniGPT
from minillm.nanogpt import next_token_loss
from minillm.optim import OptimConfig, lr_share, make_optimizer
from minillm.train import (Diverged, OneDevice, PretrainRun, TrainConfig, evaluate, make_plan, run_pretrain, sampler,
                           seconds_per_step, settings, train, train_step, windows, write_characters)

LOSSES = 1e-5  # parity.md, week 5: 1e-6 was seen
WEIGHTS = 1e-6
SMALL = dict(vocab_size=17, max_seq_len=16, n_layer=1, n_head=2, n_kv_head=1, n_embd=32, intermediate_size=64)
PLAIN = dict(optimizer="adamw", lr=1e-2, warmup_steps=3)


def small(seed=0, **changes):
    torch.manual_seed(seed)
    return MiniGPT(GPTConfig(**SMALL | changes))


class Stream:
    "Endless seeded batches of small whole numbers, or of points on a line; the position is their number."
    def __init__(self, make): self.make, self.at = make, 0
    def __iter__(self): return self
    def __next__(self):
        self.at += 1
        return self.make(torch.Generator().manual_seed(self.at), self.at)
    def state_dict(self): return dict(at=self.at)
    def load_state_dict(self, state): self.at = state["at"]


def tokens(generator, step, B=4):
    ids = torch.randint(0, 17, (B, 1), generator=generator) + torch.arange(17)  # counting: easily learned
    return ids[:, :-1] % 17, ids[:, 1:] % 17


def points(generator, step):
    x = torch.randn(8, 3, generator=generator)
    return x, x.sum(1, keepdim=True)


def square(model, x, y): return F.mse_loss(model(x), y)


def stream(make=tokens): return Stream(make)
def held_out(make=tokens, n=2): return [make(torch.Generator().manual_seed(10_000 + i), i) for i in range(n)]


# ---- the same losses as other people's trainers ---------------------------------------------------------------------

class Labelled(nn.Module):
    "What transformers' Trainer asks of a model: names it knows, and the loss in the answer."
    def __init__(self, model):
        super().__init__()
        self.model, self.losses = model, []

    def forward(self, input_ids, labels):  # no **kwargs: else the Trainer counts tokens itself
        loss = next_token_loss(self.model, input_ids, labels)
        self.losses.append(loss.item())
        return dict(loss=loss)


def of_ours(optim, n):
    losses = []
    class Tracker:
        def log(self, step, **seen): losses.append(seen["train_loss"])
        def __enter__(self): return self
        def __exit__(self, *_): pass
    model = small()
    train(model, stream(), held_out(), optim, TrainConfig(max_steps=n), track=lambda step: Tracker())
    return losses, model


def of_lightning(optim, n):
    lightning = pytest.importorskip("lightning")
    class Lit(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.model, self.losses = small(), []

        def training_step(self, batch):
            loss = next_token_loss(self.model, *batch)
            self.losses.append(loss.item())
            return loss

        def configure_optimizers(self):
            optimizer = make_optimizer(self.model, optim)
            schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: lr_share(step, n, optim))
            return dict(optimizer=optimizer, lr_scheduler=dict(scheduler=schedule, interval="step"))
    lit = Lit()
    lightning.Trainer(max_steps=n, accelerator="cpu", gradient_clip_val=optim.grad_clip, logger=False, enable_checkpointing=False,
                      enable_progress_bar=False, enable_model_summary=False).fit(
        lit, torch.utils.data.DataLoader([xy for xy, _ in zip(stream(), range(n))], batch_size=None))
    return lit.losses, lit.model


def of_transformers(optim, n):
    transformers = pytest.importorskip("transformers")
    class Ordered(transformers.Trainer):
        def get_train_dataloader(self):
            rows = [dict(input_ids=x, labels=y) for (x, y), _ in zip(stream(), range(n))]
            return torch.utils.data.DataLoader(rows, batch_size=None)
    model = Labelled(small())
    optimizer = make_optimizer(model.model, optim)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: lr_share(step, n, optim))
    args = transformers.TrainingArguments(output_dir="unused", max_steps=n, max_grad_norm=optim.grad_clip, use_cpu=True,
                                          report_to="none", save_strategy="no", disable_tqdm=True, logging_strategy="no")
    Ordered(model, args, train_dataset=[0]*n, optimizers=(optimizer, schedule)).train()
    return model.losses, model.model


def of_accelerate(optim, n):
    accelerate = pytest.importorskip("accelerate")
    accelerator, model, losses = accelerate.Accelerator(cpu=True), small(), []
    optimizer = make_optimizer(model, optim)
    model, optimizer = accelerator.prepare(model, optimizer)
    for step, (x, y) in zip(range(n), stream()):
        for group in optimizer.param_groups: group["lr"] = group["top_lr"]*lr_share(step, n, optim)
        loss = next_token_loss(model, x, y)
        accelerator.backward(loss)
        accelerator.clip_grad_norm_(model.parameters(), optim.grad_clip)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses, model


@pytest.mark.parametrize("theirs", [of_lightning, of_transformers, of_accelerate], ids=lambda f: f.__name__[3:])
@pytest.mark.filterwarnings("ignore")
def test_losses_of_other_trainers(theirs, capsys, tmp_path, monkeypatch):
    "Lightning, transformers' Trainer and accelerate see the same losses and end at the same weights."
    monkeypatch.chdir(tmp_path)
    optim = OptimConfig(**PLAIN, grad_clip=0.5)
    (losses, model), (other, trained) = of_ours(optim, 12), theirs(optim, 12)
    difference = max(abs(a - b) for a, b in zip(losses, other, strict=True))
    weights = max((p - q).abs().max().item() for p, q in zip(model.parameters(), trained.parameters(), strict=True))
    with capsys.disabled(): print(f"\ntrain beside {theirs.__name__[3:]}: losses {difference:.1e}, weights {weights:.1e} (tolerance {LOSSES})")
    assert difference < LOSSES and weights < LOSSES and losses[-1] < losses[0] - 0.5


# ---- the command, killed ---------------------------------------------------------------------------------------------

SERVER = """
import os, sys, torch
torch.set_num_threads(1)
import minillm.train
from minillm import cli
cli.VERBS["pretrain"] = ("minillm.train", "PretrainRun", "run_pretrain", "")
for line in sys.stdin:
    pid = os.fork()
    if not pid: os._exit(cli.main(["pretrain", *line.split("\\t")[:-1]]))
    print("PID", pid, flush=True)
    print("END", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


class Command:
    "`minillm pretrain` in processes of their own, that share the seconds of importing torch."
    def __init__(self, folder):
        self.folder = folder
        environment = os.environ | dict(OMP_NUM_THREADS="1")
        self.server = subprocess.Popen([sys.executable, "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                       stderr=open(folder/"stderr", "ab"), text=True, env=environment)

    def read(self, word): # what it prints is among it
        while not (line := self.server.stdout.readline()).startswith(word): assert line, (self.folder/"stderr").read_text()[-2000:]
        return int(line.split()[1])

    def __call__(self, out, *flags, stop_at=None, number=signal.SIGKILL):
        args = ["--out", str(out), "--tokens", str(self.folder/"tokens"), "--config", str(self.folder/"config.json"), *flags]
        self.server.stdin.write("\t".join(args) + "\t\n")
        self.server.stdin.flush()
        pid = self.read("PID")
        if stop_at is not None:
            while self.logged(out) < stop_at: time.sleep(0.001)
            time.sleep(random.uniform(0, 0.03))  # a step, its checkpoint, or something between
            os.kill(pid, number)
        return self.read("END")

    def logged(self, out):
        try: return (out/"training/log.jsonl").read_bytes().count(b"\n")
        except FileNotFoundError: return 0

    def close(self):
        self.server.stdin.close()
        self.server.wait()


@pytest.fixture(scope="module")
def command(tmp_path_factory):
    folder = tmp_path_factory.mktemp("command")
    text = "".join(random.Random(0).choices(["to be ", "or not ", "to sleep ", "perchance "], k=1500))
    write_characters(text, folder/"tokens")
    model = {k: v for k, v in SMALL.items() if k != "vocab_size"} | dict(dropout=0.1)  # so that torch's generator matters
    (folder/"config.json").write_text(json.dumps(dict(model=model, max_steps=90, micro_batch_size=4, eval_every=25)))
    command = Command(folder)
    assert command(folder/"whole") == 0
    yield command
    command.close()


def artefacts(out):
    "What two equal runs share to the last byte: the model, its score, the losses of every step."
    return {name: (out/name).read_bytes() for name in (
        "model.safetensors", "config.json", "training/log.jsonl", "training/plan.json", "training/settings.json", "training/result.json")}


def equal_but_for_the_clock(a, b):
    "The interval of checkpoints may differ, and nothing else."
    clock = lambda files: {k: re.sub(rb'"checkpoint_every_s": [\d.]+', b"", v) for k, v in files.items()}
    return clock(artefacts(a)) == clock(artefacts(b))


@pytest.mark.posix
@pytest.mark.parametrize("kills", [3, pytest.param(20, marks=pytest.mark.slow)])
def test_killed_and_continued(command, kills, capsys, tmp_path):
    "SIGKILL at random moments, and the run ends with the same bytes: weights, log of every loss, result."
    rng = random.Random(kills)
    moments = [0] + sorted(rng.sample(range(1, 88), kills - 1)) # the first before anything is there
    codes = [command(tmp_path/"out", "--checkpoint-every-s", "0.01", stop_at=moment) for moment in moments]
    assert codes == [-signal.SIGKILL]*kills
    assert command(tmp_path/"out") == 0 and equal_but_for_the_clock(tmp_path/"out", command.folder/"whole")
    with capsys.disabled(): print(f"\npretrain killed after steps {moments}: not a byte differs")


@pytest.mark.posix
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stopped_politely(command, number, tmp_path):
    "SIGTERM and Ctrl-C save first: the exit code says stopped, no step is lost, and the run ends with the same bytes."
    assert command(tmp_path/"out", stop_at=40, number=number) == 130
    newest = int(checkpoints(tmp_path/"out/training/checkpoints")[-1].name.split("-")[1])
    assert newest == command.logged(tmp_path/"out") >= 40
    assert command(tmp_path/"out") == 0 and artefacts(tmp_path/"out") == artefacts(command.folder/"whole")


@pytest.mark.posix
def test_a_damaged_checkpoint_is_passed_over(command, tmp_path):
    "The newest checkpoint is spoiled: the one before it is taken, and the run ends with the same bytes."
    assert command(tmp_path/"out", stop_at=60, number=signal.SIGTERM) == 130
    newest = checkpoints(tmp_path/"out/training/checkpoints")[-1]
    weights = bytearray((newest/"model.safetensors").read_bytes())
    weights[-1] ^= 1
    (newest/"model.safetensors").write_bytes(weights)
    assert command(tmp_path/"out") == 0 and artefacts(tmp_path/"out") == artefacts(command.folder/"whole")
    assert newest.name in (command.folder/"stderr").read_text()
