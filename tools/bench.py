"""Training tokens per CPU-second of nanogpt beside Hugging Face's GPT-2, and how long imports take; then the other benches.

usage: python tools/bench.py [--rounds 7] [--alone]    (--alone: not the others, which are tools/bench_*.py)

One thread, fp32, the same process-wide flags for both, rounds interleaved, median of the rounds. A step is forward,
backward, clipping and AdamW. GPT-2 comes as transformers configures it (fused attention). The bar
holds under torch's default precision of float32 products ("highest") and under the tour's ("medium"). All rows end up in
nbs/results/bench.json, from which the README's table is made.
"""
import argparse, os, statistics, subprocess, sys, time
from pathlib import Path

import torch
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel

from course import record_bench
from minillm.nanogpt import PRESETS, NanoGPT, NanoGPTConfig, next_token_loss

BAR = 1.15  # Ours over theirs, at least
SHAPES = {"cpu": (12, 20), "10m": (8, 1)}  # Preset: sequences a step, steps a round


def trainer(model: nn.Module, loss: callable):
    "One optimizer step, as a function without arguments."
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)

    def step():
        optimizer.zero_grad()
        loss().backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    return step


def pair(preset: str, micro_batch_size: int):
    "A step of ours and a step of theirs on the same tokens."
    torch.manual_seed(0)
    config = NanoGPTConfig(vocab_size=65, **PRESETS[preset])
    ours, hf = NanoGPT(config), GPT2LMHeadModel(GPT2Config(
        vocab_size=65, n_positions=config.max_seq_len, n_embd=config.n_embd, n_layer=config.n_layer, n_head=config.n_head,
        resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, bos_token_id=0, eos_token_id=0))
    tokens = torch.randint(65, (micro_batch_size, config.max_seq_len + 1))
    x, y = tokens[:, :-1].contiguous(), tokens[:, 1:]
    return trainer(ours, lambda: next_token_loss(ours, x, y)), trainer(hf.train(), lambda: hf(x, labels=x).loss), x.numel()


def tokens_per_second(step, n_steps: int, n_tokens: int) -> float:
    start = time.process_time()
    for _ in range(n_steps): step()
    return n_steps * n_tokens / (time.process_time() - start)


def compare(preset: str, rounds: int) -> tuple[float, float]:
    "Median tokens per CPU-second of ours and theirs, rounds interleaved."
    micro_batch_size, n_steps = SHAPES[preset]
    *steps, n_tokens = pair(preset, micro_batch_size)
    for step in steps: tokens_per_second(step, n_steps, n_tokens)  # warm-up
    speeds = [[tokens_per_second(step, n_steps, n_tokens) for step in steps] for _ in range(rounds)]
    return tuple(map(statistics.median, zip(*speeds)))


def start_time(*command: str) -> float:
    "Best of five CPU times of a child, seconds."
    import resource
    times = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, *command], check=True, stdout=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(times)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--alone", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    slow, rows, rounds = [], [], args.rounds
    print(f"{'preset':8}{'precision':>10}{'nanogpt':>10}{'GPT-2':>10}{'ratio':>8}   tokens per CPU-second, median of {rounds}")
    for precision in ("highest", "medium"):
        torch.set_float32_matmul_precision(precision)
        for preset in SHAPES:
            ours, theirs = compare(preset, rounds)
            print(f"{preset:8}{precision:>10}{ours:10.0f}{theirs:10.0f}{ours / theirs:8.2f}", flush=True)
            rows.append(dict(what=f"training, {preset} shape, float32 products \"{precision}\"", peer="transformers GPT-2", ours=ours, theirs=theirs,
                             unit="tokens/s", ratio=ours / theirs, bar=BAR))
    bare = start_time("-c", "pass")
    for name, command, most in (("import minillm", ("-c", "import minillm"), 0.1), ("minillm --help", ("-c", "from minillm.cli import main; main([\"--help\"])"), 1.0)):
        seconds = start_time(*command) - bare
        print(f"{name:18}{seconds:6.3f} s beyond Python's own start (limit {most:g})")
        if seconds > most: slow.append(f"{name}: {seconds:.2f} s > {most}")
    if slow: print("too slow: " + "; ".join(slow))
    failed = [record_bench("training", rows), len(slow)]
    for script in () if args.alone else sorted(Path(__file__).parent.glob("bench_*.py")):
        print(f"\n== {script.name}", flush=True)
        failed.append(subprocess.run([sys.executable, script], env=os.environ | {"OMP_NUM_THREADS": "1", "RAYON_NUM_THREADS": "1"}).returncode)
    return int(any(failed))


if __name__ == "__main__": sys.exit(main())
