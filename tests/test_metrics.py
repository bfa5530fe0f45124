"Prices of tokens equal to transformers' and lm-eval's, a code that gives the text back, and shares of a peak."
import gzip
import lzma
import math
import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from minillm.metrics import (baselines, bits_per_byte, bits_per_byte_of, bootstrap, compress, decompress, flops_per_token, matmul_params, measure_peak_flops,
                             mfu, nll, perplexity, rolling_windows, throughput)
from minillm.minigpt import GPTConfig, MiniGPT
from minillm.nanogpt import NanoGPT, NanoGPTConfig, evaluate, ngram_bits_per_byte

PARITY = 1e-5  # parity.md, week 5, relative
quiet = settings(deadline=None, derandomize=True, max_examples=60)


def mini(seed=0, spread=3.0, **changes):
    torch.manual_seed(seed)
    model = MiniGPT(GPTConfig(**dict(vocab_size=50, max_seq_len=32, n_layer=2, n_head=2, n_kv_head=1, n_embd=32, intermediate_size=64) | changes)).eval()
    for p in model.parameters(): p.data *= spread  # else it is blind
    return model


def text(n, seed=0, vocab_size=50): return torch.randint(vocab_size, (n,), generator=torch.Generator().manual_seed(seed))


class Fixed(nn.Module):
    "The same logits whatever came before."
    def __init__(self, logits):
        super().__init__()
        self.logits = torch.tensor(logits, dtype=torch.float32)

    def forward(self, idx): return self.logits.expand(*idx.shape, -1)


class Logits(nn.Module):
    "A model of transformers as ids to logits."
    def __init__(self, hf):
        super().__init__()
        self.hf = hf

    def forward(self, idx): return self.hf(idx).logits


# ---- prices and windows


@pytest.mark.parametrize("model", [mini(), NanoGPT(NanoGPTConfig(vocab_size=50, max_seq_len=32, n_layer=2, n_head=2, n_embd=32)).eval()])
@pytest.mark.parametrize("window, stride, prefix", [(32, None, None), (32, 8, None), (16, 1, 0), (7, 3, 4), (1, 1, None), (32, 32, 49)])
def test_each_token_has_its_price(model, window, stride, prefix):
    "nll is -log p of each token given exactly the past that rolling_windows says."
    ids = text(75)
    got = nll(model, ids, window, stride, prefix, micro_batch_size=3)
    whole = ids if prefix is None else torch.cat([torch.tensor([prefix]), ids])
    for start, stop, new in rolling_windows(len(whole), window, stride):
        with torch.no_grad(): log_p = model(whole[None, start:stop])[0].log_softmax(-1)
        for k in range(stop - new, stop): assert abs(got[k].item() + log_p[k - start, whole[k + 1]].item()) < 1e-4
    assert len(got) == len(whole) - 1


@quiet
@given(st.integers(2, 200), st.integers(1, 40), st.integers(1, 40))
def test_each_token_is_asked_for_once(n, window, stride):
    "The new answers of all windows are the tokens 1 to n - 1, each once; no window is too long, and only the first may be short."
    if stride > window: return
    windows = rolling_windows(n, window, stride)
    assert [k for _, stop, new in windows for k in range(stop - new + 1, stop + 1)] == list(range(1, n))
    assert all(stop - start == min(window, n - 1) for start, stop, _ in windows) and windows[-1][1] == n - 1


def lm_eval_windows(tokens, prefix, max_seq_len, context_len):
    "The rule of lm_eval.utils.get_rolling_token_windows (EleutherAI/lm-evaluation-harness), in other words: (read, asked)."
    done = min(max_seq_len, len(tokens))
    yield [prefix, *tokens[:done - 1]], tokens[:done]
    while done < len(tokens):
        end = done + min(len(tokens) - done, max_seq_len - context_len + 1)
        yield tokens[end - max_seq_len - 1:end - 1], tokens[done:end]
        done = end


@quiet
@given(st.integers(1, 150), st.integers(1, 30), st.integers(1, 30))
def test_windows_of_lm_eval(n, window, context_len):
    "With prefix and stride T - context_len + 1 our windows are those of lm-eval's rolling log-likelihood."
    if context_len > window: return
    tokens = list(range(1, n + 1))
    ours = [([0, *tokens][a:b], tokens[b - new:b]) for a, b, new in rolling_windows(n + 1, window, window - context_len + 1)]
    assert ours == list(lm_eval_windows(tokens, 0, window, context_len))


@pytest.mark.parametrize("context_len", [1, 9, 32])
def test_log_likelihood_of_lm_eval(context_len, capsys):
    "The sum of our prices is its rolling log-likelihood, and so are bits per byte."
    model, tokens = mini(), text(133).tolist()
    theirs = 0.0
    for read, asked in lm_eval_windows(tokens, 3, 32, context_len):
        with torch.no_grad(): log_p = model(torch.tensor([read]))[0].double().log_softmax(-1)
        theirs -= log_p[-len(asked):].gather(1, torch.tensor(asked)[:, None]).sum().item()
    ours = nll(model, tokens, 32, 32 - context_len + 1, prefix=3).double().sum().item()
    difference = abs(ours - theirs) / theirs
    with capsys.disabled(): print(f"\nlm-eval's rolling log-likelihood, context_len {context_len}: {difference:.1e} (tolerance {PARITY})")
    assert difference < PARITY
    assert math.isclose(bits_per_byte_of(model, tokens, 400, 32, 32 - context_len + 1, 3), theirs / 400 / math.log(2), rel_tol=PARITY)


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
@pytest.mark.parametrize("stride", [16, 31])
def test_perplexity_of_transformers(kind, stride, capsys):
    "Its documented recipe (labels of -100 before the new tokens, the model's own loss) gives our perplexity with a window of one less."
    hf = pytest.importorskip("transformers")
    torch.manual_seed(0)
    if kind == "gpt2": model = hf.GPT2LMHeadModel(hf.GPT2Config(vocab_size=97, n_positions=32, n_embd=48, n_layer=2, n_head=2, bos_token_id=0, eos_token_id=0))
    else: model = hf.LlamaForCausalLM(hf.LlamaConfig(vocab_size=97, max_position_embeddings=32, hidden_size=48, intermediate_size=64, num_hidden_layers=2,
                                                     num_attention_heads=4, num_key_value_heads=2, bos_token_id=0, eos_token_id=0))
    for p in model.eval().parameters(): p.data *= 2
    ids, total, before = text(32 + 5 * stride, vocab_size=97)[None], 0.0, 0
    for begin in range(0, ids.shape[1], stride):
        stop = min(begin + 32, ids.shape[1])
        labels = ids[:, begin:stop].clone()
        labels[:, :-(stop - before)] = -100
        with torch.no_grad(): loss = model(ids[:, begin:stop], labels=labels).loss.item()
        total, before = total + loss * (labels[:, 1:] != -100).sum().item(), stop
        if stop == ids.shape[1]: break
    theirs, ours = math.exp(total / (ids.shape[1] - 1)), perplexity(Logits(model), ids[0], 31, stride)
    difference = abs(ours - theirs) / theirs
    with capsys.disabled(): print(f"\n{kind}, stride {stride}: perplexity {ours:.4f} beside {theirs:.4f}, {difference:.1e} (tolerance {PARITY})")
    assert difference < PARITY


def test_the_loss_of_the_week_one_loop():
    "Side by side, over whole windows, the mean price is evaluate's loss."
    model, ids = mini(), text(32 * 5 + 1)
    assert math.isclose(nll(model, ids, 32).double().mean().item(), evaluate(model, ids, 32), rel_tol=PARITY)


def test_any_row_of_ids_will_do():
    "A list, an array of uint16 as in a token file, and a tensor cost the same; the model's mode is left as it was."
    model, ids = mini(), text(60)
    model.train()
    a, b, c = (nll(model, x, 16, 8) for x in (ids, ids.tolist(), ids.numpy().astype(np.uint16)))
    assert torch.equal(a, b) and torch.equal(a, c) and model.training
    top = Fixed([0.0] * 65_536)
    assert math.isclose(perplexity(top, np.full(9, 65_535, np.uint16), 4), 65_536, rel_tol=1e-4)  # above the signed range


def test_bfloat16_logits_are_summed_in_float32():
    "Half-precision logits lose their own digits and no others."
    model = mini()
    assert abs(nll(model.bfloat16(), text(60), 32).mean().item() - nll(mini(), text(60), 32).mean().item()) < 0.05


@pytest.mark.parametrize("n, window, stride, words", [(10, 4, 0, "stride (0)"), (10, 4, 5, "stride (5)"), (1, 4, 2, "1 tokens"), (0, 4, None, "0 tokens"), (9, 0, None, "stride (0)")])
def test_impossible_windows(n, window, stride, words):
    "A stride that would skip or repeat is refused with its value, and a text that asks for nothing."
    with pytest.raises(ValueError) as caught: rolling_windows(n, window, stride)
    assert words in str(caught.value)


# ---- bits per byte


def test_bits_per_byte_does_not_depend_on_the_tokens():
    "A blind guess among the 256 bytes costs eight bits a byte, whether tokens are bytes or pairs of them."
    assert math.isclose(bits_per_byte(math.log(256), 100, 100), 8) and math.isclose(bits_per_byte(math.log(256**2), 50, 100), 8)
    assert math.isclose(bits_per_byte_of(Fixed([0.0] * 256), text(40), 40, 8, prefix=0), 8, rel_tol=1e-6)
    for n_tokens, n_bytes in ((0, 5), (5, 0), (5, -1)):
        with pytest.raises(ValueError, match="must be positive"): bits_per_byte(1.0, n_tokens, n_bytes)


def test_the_interval_covers():
    "Of 150 samples of documents, about 95 % of the intervals hold the true figure."
    rng, held = np.random.default_rng(0), 0
    for k in range(150):
        sizes = rng.integers(50, 500, 60)
        low, high = bootstrap(rng.gamma(4, 0.25, 60) * sizes * math.log(2), sizes, n_resamples=200, seed=k)
        held += low <= 1 <= high
    print(f"covered: {held/150:.0%}")
    assert 0.87 <= held / 150 <= 0.99


def test_the_paired_interval_is_narrower():
    "On the same documents a small, steady difference is seen that separate intervals hide; without one the interval holds zero."
    rng = np.random.default_rng(1)
    sizes, hard = rng.integers(50, 500, 80), rng.gamma(4, 0.25, 80)
    a, b = hard * sizes, (hard + rng.normal(0.05, 0.02, 80)) * sizes
    low, high = bootstrap(b, sizes, other=a)
    assert 0 < low < 0.05 / math.log(2) < high and high - low < 0.2 * np.diff(bootstrap(a, sizes))[0]
    assert bootstrap(a, sizes, other=a) == (0, 0) and bootstrap(a, sizes, seed=1) == bootstrap(a, sizes, seed=1)
    for wrong in ((a[:1], sizes[:1]), (a, sizes[:-1])):
        with pytest.raises(ValueError, match="same documents"): bootstrap(*wrong)


def test_baselines_on_the_same_text():
    "Compressors' bytes times eight over the text's, and the n-grams of week 1."
    train, val = b"the cat sat on the mat. " * 40, b"the mat sat on the cat. " * 9
    found = baselines(train, val)
    assert found["gzip"] == 8 * len(gzip.compress(val, 9)) / len(val) and found["xz"] == 8 * len(lzma.compress(val, preset=9)) / len(val)
    assert found["byte 3-gram"] == ngram_bits_per_byte(train, val, 3) and list(found) == ["byte 1-gram", "byte 3-gram", "byte 5-gram", "gzip", "xz"]


# ---- arithmetic coding


@settings(quiet, max_examples=15)
@given(st.integers(0, 40), st.integers(0, 9), st.sampled_from([0.0, 1.0, 4.0]))
def test_the_text_comes_back(n, seed, spread):
    "Any ids come back from any model's code, which is as long as the text costs."
    model, ids = mini(seed, spread, n_layer=1), text(n, seed).tolist()
    packed = compress(model, ids, 7, 16)
    assert decompress(model, packed, n, 7, 16) == ids
    bits = nll(model, ids, 16, 1, prefix=7).sum().item() / math.log(2) if n else 0
    assert bits - 8 < 8 * len(packed) < bits * 1.001 + 16


def test_the_improbable_can_be_said():
    "A token that the model holds for impossible costs 24 bits and comes back; certainty costs nothing."
    sure = Fixed([100.0, -100.0, -100.0])
    assert compress(sure, [0] * 500, 0, 4) in (b"", b"\0") or len(compress(sure, [0] * 500, 0, 4)) <= 1
    ids = [0] * 100 + [2] + [0] * 100 + [1, 2]
    packed = compress(sure, ids, 0, 4)
    assert decompress(sure, packed, len(ids), 0, 4) == ids and 8 <= len(packed) <= 11


def test_carries_run_through():
    "Long runs of the last token, whose share ends where the interval ends, come back."
    model = Fixed([0.0, -0.5, 5.0])
    for seed in range(30):
        ids = [2] * (seed * 7) + text(60, seed, 3).tolist() + [2] * 50
        assert decompress(model, compress(model, ids, 0, 2), len(ids), 0, 2) == ids


def test_a_damaged_code_is_nonsense_but_no_crash():
    "Other bytes give other ids of the vocabulary."
    model, rng = mini(), np.random.default_rng(0)
    for _ in range(10):
        ids = decompress(model, rng.bytes(6), 12, 0, 8)
        assert len(ids) == 12 and all(0 <= i < 50 for i in ids)


# ---- speed


def test_throughput_counts_what_it_is_told():
    "A step of ten milliseconds over 100 tokens makes at most 10,000 tokens a second; warm-up runs are not timed."
    calls = []
    speed = throughput(lambda: (calls.append(0), time.sleep(0.01)), 100, repeats=3, warmup=2)
    assert len(calls) == 5 and speed["slowest"] <= speed["tokens_per_s"] <= speed["fastest"] <= 10_000
    ticks = iter(range(100))
    assert throughput(lambda: None, 6, clock=lambda: next(ticks))["tokens_per_s"] == 6


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_peak_has_a_spread(dtype):
    "The fastest of some products is the peak, the slowest its lower end."
    found = measure_peak_flops(dtype, 128, repeats=5)
    assert 1e7 < found["slowest"] <= found["median"] <= found["peak"]


@pytest.mark.parametrize("changes", [{}, dict(n_kv_head=2), dict(head_dim=24), dict(tied=False), dict(n_layer=3, vocab_size=71), dict(qkv_bias=True)])
def test_flops_are_those_that_torch_counts(changes):
    "6N + 12 L H D T is what torch's counter sees of MiniGPT, forward and backward."
    model = mini(attention="naive", **changes)
    c, idx = model.config, text(64).view(2, 32)
    for training in (True, False):
        with FlopCounterMode(display=False) as counter:
            logits = model(idx)
            if training: logits.sum().backward()
        assert counter.get_total_flops() == 64 * flops_per_token(matmul_params(model), c.n_layer, c.n_head * c.head_dim, 32, training)


def test_mfu_is_a_share():
    "Needed over possible, and nothing that is not positive."
    assert mfu(1000, 6e6, 12e9) == 0.5
    for args in ((0, 1, 1), (1, -1, 1), (1, 1, 0), (math.nan, 1, 1)):
        with pytest.raises(ValueError, match="must be positive"): mfu(*args)
