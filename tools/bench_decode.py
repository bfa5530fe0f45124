"""Greedy decoding of minillm beside transformers' LlamaForCausalLM.generate with its cache, tokens per CPU-second of one thread.

usage: OMP_NUM_THREADS=1 python tools/bench_decode.py [--rounds 7] [--profile]

The same weights, 10M parameters in fp32, matrix products at torch's "highest" precision; a prompt of 32 tokens, 200 new ones, rounds
interleaved, median of the rounds' ratios, equal tokens. Compiling is paid before the clock starts; a batch of 16 is reported without a bar.
--profile adds what a step of the fast decoder spends its time on.
"""
import argparse, os, statistics, sys, time

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from course import record_bench
from minillm.generate import KVCache, SamplingConfig, fast_decoder, generate
from minillm.minigpt import GPTConfig, MiniGPT

SHAPE = dict(vocab_size=1024, max_seq_len=256, n_layer=6, n_head=6, n_kv_head=6, n_embd=384, intermediate_size=1024)
PROMPT, NEW, BAR, GOAL = 32, 200, 1.5, 2.0
THEIRS = "transformers' generate with its cache"


def models():
    "Ours and transformers', with the same weights."
    torch.manual_seed(0)
    ours, c = MiniGPT(GPTConfig(**SHAPE)).eval(), GPTConfig(**SHAPE)
    theirs = LlamaForCausalLM(LlamaConfig(
        vocab_size=c.vocab_size, hidden_size=c.n_embd, intermediate_size=c.intermediate_size, num_hidden_layers=c.n_layer,
        num_attention_heads=c.n_head, num_key_value_heads=c.n_kv_head, max_position_embeddings=c.max_seq_len, rms_norm_eps=c.norm_eps,
        rope_theta=c.rope_theta, tie_word_embeddings=True, bos_token_id=None, eos_token_id=None)).eval()
    table = {"blocks.": "layers.", "attn_norm": "input_layernorm", "mlp_norm": "post_attention_layernorm", ".attn.": ".self_attn.", "embed.": "embed_tokens."}
    def named(name):
        for mine, other in table.items(): name = name.replace(mine, other)
        return name if name.startswith("lm_head") else f"model.{name}"
    theirs.load_state_dict({named(name): p for name, p in ours.state_dict().items()})
    return ours, theirs


def contenders(ours, theirs):
    "{who: f(prompts (B, T)) -> new ids (B, NEW) as lists}."
    config, fast = SamplingConfig(NEW, temperature=0), fast_decoder(ours)
    def hf(idx):
        return theirs.generate(idx, attention_mask=torch.ones_like(idx), max_new_tokens=NEW, do_sample=False, pad_token_id=0)[:, PROMPT:].tolist()
    return {THEIRS: hf, "minillm, readable cache": lambda idx: generate(ours, idx, config), "minillm, fast_decoder": lambda idx: generate(fast, idx, config)}


def compare(who: dict, batch: int, rounds: int) -> dict:
    "{who: CPU-seconds of each round}; a first round of each is not counted (compilation, caches)."
    idx = torch.randint(SHAPE["vocab_size"], (batch, PROMPT), generator=torch.Generator().manual_seed(batch))
    said = {name: f(idx) for name, f in who.items()}
    if any(new != said[THEIRS] for new in said.values()): raise SystemExit(f"batch {batch}: the tokens differ")
    times = {name: [] for name in who}
    for _ in range(rounds):
        for name, f in who.items():
            start = time.process_time()
            f(idx)
            times[name].append(time.process_time() - start)
    return times


def profile(ours) -> None:
    "A step of the fast decoder, kernel by kernel, and what lies under it: all weights added up once."
    fast, cache, weights = fast_decoder(ours), KVCache(ours.config, 1), torch.cat([p.detach().flatten() for p in ours.parameters()])
    with torch.inference_mode():
        fast(torch.zeros(1, PROMPT, dtype=torch.int64), cache=cache)
        def step():
            cache.length = PROMPT
            return fast(torch.tensor([[5]]), cache=cache)
        step()
        for name, f in (("one step", step), ("torch.sum of all weights", weights.sum)):
            start = time.process_time()
            for _ in range(100): f()
            print(f"{name:28}{10*(time.process_time() - start):8.2f} ms of {weights.nbytes/1e6:.0f} MB")
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as found:
            for _ in range(100): step()
    print(found.key_averages().table(sort_by="self_cpu_time_total", row_limit=12, max_name_column_width=60))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--profile", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    ours, theirs = models()
    rows, numbers = [], f"fp32, matmul precision {torch.get_float32_matmul_precision()}"
    print(f"{sum(p.numel() for p in ours.parameters()):,} parameters, {numbers}, prompt {PROMPT}, {NEW} new; tokens per CPU-second, median of {args.rounds} interleaved rounds")
    for batch in (1, 16):
        times = compare(contenders(ours, theirs), batch, args.rounds if batch == 1 else max(1, args.rounds//2))
        speed = {name: [batch*NEW/s for s in took] for name, took in times.items()}
        print(f"-- batch {batch}, tokens equal" + (f"; bar {BAR} for the fast decoder, goal {GOAL}" if batch == 1 else ""))
        for name, of_rounds in speed.items():
            ratio = statistics.median(a/b for a, b in zip(of_rounds, speed[THEIRS]))
            print(f"{name:40}{statistics.median(of_rounds):9.0f} {ratio:7.2f}   rounds {[round(v) for v in of_rounds]}", flush=True)
            if name != THEIRS:
                rows.append(dict(what=f"decoding 10M, batch {batch}, {numbers}: {name.partition(', ')[2]}", peer=THEIRS, ours=statistics.median(of_rounds),
                                 theirs=statistics.median(speed[THEIRS]), unit="tokens/CPU-s", ratio=ratio, bar=BAR if batch == 1 and "fast" in name else None))
    if args.profile: profile(ours)
    return record_bench("decoding", rows)


if __name__ == "__main__": sys.exit(main())
