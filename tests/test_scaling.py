"Counts against real models and PyTorch's own counter; fits against planted laws; the stored sweep against its code."
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

from minillm.nanogpt import NanoGPT, NanoGPTConfig, TrainConfig, adamw, next_token_loss
from minillm.scaling import (
    LAWS, OPTIMIZER_BYTES, PEAK_FLOPS, PowerLaw, activation_bytes, bootstrap_power_law, count_params, fit_power_law,
    implied_mfu, memory_bytes, non_embedding, optimal_split, predict_loss, step_flops, time_and_cost, train_flops)

ROOT = Path(__file__).resolve().parents[1]
SHAPES = [
    dict(n_layer=1, n_head=1, n_embd=8, vocab_size=11, max_seq_len=4),
    dict(n_layer=4, n_head=4, n_embd=64, vocab_size=256, max_seq_len=64),
    dict(n_layer=2, n_head=3, n_embd=96, vocab_size=101, max_seq_len=128),
    dict(n_layer=3, n_head=2, n_embd=48, vocab_size=1000, max_seq_len=32),
]
MEMORY_TOLERANCE = 0.10  # parity.md; seen here: below 1e-4
GPT2 = dict(n_layer=12, n_head=12, n_embd=768, vocab_size=50257, max_seq_len=1024)


def step(shape, B=3):
    "A model, and a batch of its shape."
    torch.manual_seed(0)
    return NanoGPT(NanoGPTConfig(**shape)), torch.randint(shape["vocab_size"], (B, shape["max_seq_len"]))


def saved_bytes(model, ids):
    "Bytes of the distinct storages saved for backward, without parameters and buffers."
    own = {t.untyped_storage().data_ptr() for t in [*model.parameters(), *model.buffers()]}
    kept = {}
    def pack(t): kept[t.untyped_storage().data_ptr()] = t; return t
    with saved_tensors_hooks(pack, lambda t: t): next_token_loss(model, ids, ids.clone())
    return sum(t.untyped_storage().nbytes() for pointer, t in kept.items() if pointer not in own)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_parameters_are_those_of_the_model(shape, bias):
    "Every part of the count equals what the real model holds."
    model, real = NanoGPT(NanoGPTConfig(**shape, bias=bias)), {}
    for name, p in model.named_parameters():
        part = next(part for key, part in dict(wte="token_embedding", wpe="position_embedding", attn="attention",
                                               mlp="mlp", ln_="norms").items() if key in name)
        real[part] = real.get(part, 0) + p.numel()
    assert count_params(**shape, bias=bias) == real | {"head": 0}
    assert non_embedding(count_params(**shape, bias=bias)) == sum(real.values()) - model.wte.weight.numel() \
        - model.wpe.weight.numel()


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("shape", [GPT2, *SHAPES])
def test_parameters_are_those_of_transformers(shape, tied):
    "The count equals num_parameters of GPT2LMHeadModel, tied and untied."
    transformers = pytest.importorskip("transformers")
    config = transformers.GPT2Config(n_layer=shape["n_layer"], n_head=shape["n_head"], n_embd=shape["n_embd"],
                                     vocab_size=shape["vocab_size"], n_positions=shape["max_seq_len"],
                                     tie_word_embeddings=tied)
    with torch.device("meta"): model = transformers.GPT2LMHeadModel(config)
    counted = sum(count_params(**shape, bias=True, tied=tied).values())
    print("difference", counted - model.num_parameters())
    assert counted == model.num_parameters()


@pytest.mark.parametrize("shape", SHAPES)
def test_flops_are_those_pytorch_sees(shape):
    "Both passes agree with the flop counter to the last operation; beyond 64 tokens the blocks of nanogpt skip (T - 64)/2T of the scores."
    model, ids = step(shape)
    T = shape["max_seq_len"]
    for backward in (False, True):
        with FlopCounterMode(display=False) as counter:
            loss = next_token_loss(model, ids, ids)
            if backward: loss.backward()
        parts = step_flops(**shape, micro_batch_size=3, backward=backward)
        skipped = parts["scores"]*max(0, T - 64)//(2*T)
        assert sum(parts.values()) - skipped == counter.get_total_flops()


def test_six_n_d_is_near_for_large_models_only():
    "6ND is within 5 % of the exact count for GPT-3, and far off for a long context."
    gpt3 = dict(n_layer=96, n_embd=12288, vocab_size=50257, max_seq_len=2048)
    def ratio(shape):
        n = sum(count_params(**shape).values())
        return sum(step_flops(**shape).values())/train_flops(n, shape["max_seq_len"])
    assert abs(ratio(gpt3) - 1) < 0.05 and ratio(gpt3 | {"max_seq_len": 131072}) > 2


@pytest.mark.parametrize("B", [1, 5])
@pytest.mark.parametrize("shape", SHAPES[1:])
def test_activations_are_those_autograd_keeps(shape, B):
    "The formula is within 10 % of the bytes saved for backward, within a few bytes when there are several sequences."
    model, ids = step(shape, B)
    counted, real = activation_bytes(**shape, micro_batch_size=B), saved_bytes(model, ids)
    print("difference", counted - real, "of", real)
    assert abs(counted/real - 1) < MEMORY_TOLERANCE
    if B > 1: assert abs(counted/real - 1) < 1e-3  # with one sequence q is a view, and keeps the k and v beside it alive


@pytest.mark.parametrize("forget", ["keep_scores", "half the MLP"])
def test_a_planted_mistake_in_activations_is_seen(forget):
    "A formula without attention weights, or without the GELU's output, misses the 10 % bound."
    shape, B = SHAPES[2], 5
    model, ids = step(shape, B)
    counted = activation_bytes(**shape, micro_batch_size=B, keep_scores=forget != "keep_scores")
    if forget == "half the MLP": counted -= 4*shape["n_layer"]*4*B*shape["max_seq_len"]*shape["n_embd"]
    assert abs(counted/saved_bytes(model, ids) - 1) > MEMORY_TOLERANCE


def test_weights_gradients_and_optimizer_are_what_a_step_leaves():
    "The other three parts equal the bytes found after a real AdamW step."
    shape = SHAPES[1]
    model, ids = step(shape)
    optimizer = adamw(model, TrainConfig())
    next_token_loss(model, ids, ids).backward()
    optimizer.step()
    n = sum(p.numel() for p in model.parameters())
    memory = memory_bytes(n, **shape, micro_batch_size=3)
    assert memory["weights"] == sum(p.nbytes for p in model.parameters())
    assert memory["gradients"] == sum(p.grad.nbytes for p in model.parameters())
    states = sum(s.nbytes for state in optimizer.state.values() for s in state.values())
    assert abs(memory["optimizer"] - states) <= 8*len(optimizer.state)  # step counters


def test_memory_options():
    "Bytes per parameter follow the precision and the optimizer; activations follow the batch."
    kwargs = GPT2 | {"n_params": 1000, "micro_batch_size": 2}
    assert [memory_bytes(**kwargs, optimizer=o)["optimizer"] for o in OPTIMIZER_BYTES] \
        == [1000*b for b in OPTIMIZER_BYTES.values()]
    half = memory_bytes(**kwargs, param_bytes=2, grad_bytes=2)
    assert half["weights"] == half["gradients"] == 2000
    assert memory_bytes(**kwargs | {"micro_batch_size": 4})["activations"] == 2*half["activations"]
    with pytest.raises(ValueError, match=r"optimizer \('lion'\) must be one of none, momentum, adamw"):
        memory_bytes(**kwargs, optimizer="lion")


def test_half_precision_matches_the_published_formula():
    "With 16 bits and dropout's masks added, a block keeps 34*s*b*h + 5*a*s*s*b bytes [@korthikanti2022activation]."
    s, b, h, a = 128, 2, 96, 3
    one, two = (activation_bytes(n, a, h, 7, s, b, dtype_bytes=2) for n in (1, 2))
    statistics, masks = 2*4*b*s, 2*s*b*h + 3*a*s*s*b
    assert two - one - statistics + masks == 34*s*b*h + 5*a*s*s*b


def test_time_and_cost():
    "Hours, device hours and money follow from the inputs, and implied_mfu undoes them."
    plan = time_and_cost(3.6e18, 1e15, 0.5, 3.0, 4)
    assert plan == dict(hours=0.5, gpu_hours=2.0, cost=6.0)
    assert implied_mfu(3.6e18, plan["gpu_hours"], 1e15) == pytest.approx(0.5)
    assert time_and_cost(1e18, PEAK_FLOPS["T4"], 0.3, 0)["cost"] == 0


@pytest.mark.parametrize("call, message", [
    (lambda: count_params(0, 8, 8, 8), r"n_layer \(0\) must be greater than 0"),
    (lambda: step_flops(1, 8, 8, 8, micro_batch_size=0), r"micro_batch_size \(0\)"),
    (lambda: train_flops(1e9, -1), r"n_tokens \(-1\)"),
    (lambda: time_and_cost(1e18, 1e15, 40, 2), r"mfu \(40\) must lie in \(0, 1\]"),
    (lambda: time_and_cost(1e18, 1e15, 0.4, -2), r"price_per_hour \(-2\)"),
    (lambda: fit_power_law([1, 2, 3], [3, 2, 1.5]), r"x \(3 distinct values\) must have at least 4"),
    (lambda: fit_power_law([1, 1, 2, 2, 3, 3], [3, 3, 2, 2, 1, 1]), r"x \(3 distinct values\)"),
    (lambda: fit_power_law([1, 2, 3, 4], [3, 2, 1]), "two lists of one length"),
    (lambda: fit_power_law([1, 2, 3, -4], [3, 2, 1, 1]), r"x \(-4.0\) must be positive"),
    (lambda: bootstrap_power_law([1, 2, 3, 4], [3, 2, float("nan"), 1]), r"loss \(nan\)"),
])
def test_bad_input_is_named(call, message):
    "A wrong value raises ValueError with its name and the rule."
    with pytest.raises(ValueError, match=message): call()


@pytest.mark.parametrize("E, A, alpha", [(1.7, 400, 0.34), (0.0, 5.0, 0.076), (0.5, 30, 0.5), (1.0, 2000, 0.8)])
def test_a_planted_law_is_recovered(E, A, alpha):
    "Points from a law give the law back."
    x = np.geomspace(1e4, 1e8, 9)
    law = fit_power_law(x, PowerLaw(E, A, alpha)(x))
    print("alpha", law.alpha - alpha, "E", law.E - E)
    assert law.alpha == pytest.approx(alpha, abs=1e-3) and law.E == pytest.approx(E, abs=2e-3)
    assert law.A == pytest.approx(A, rel=1e-2)


def test_the_interval_holds_the_planted_exponent():
    "Over 30 noisy data sets the 90 % interval contains the truth most of the time, and widens with the noise."
    x, rng, hits, widths = np.geomspace(1e4, 1e8, 9), np.random.default_rng(0), 0, {}
    for noise in (0.003, 0.03):
        widths[noise] = []
        for _ in range(15):
            alphas = bootstrap_power_law(x, PowerLaw(1.7, 400, 0.34)(x) + noise*rng.standard_normal(9), 200)["alpha"]
            low, high = np.percentile(alphas, [5, 95])
            hits += low - 0.002 <= 0.34 <= high + 0.002
            widths[noise].append(high - low)
    print("hits", hits, "of 30")
    assert hits >= 20 and np.median(widths[0.03]) > 2*np.median(widths[0.003])


def test_same_seed_same_interval():
    "The bootstrap is reproducible."
    x, loss = np.geomspace(1e4, 1e6, 6), [3, 2.5, 2.2, 2.05, 1.95, 1.9]
    first, again = (bootstrap_power_law(x, loss, 50, seed=3) for _ in range(2))
    assert all((first[k] == again[k]).all() for k in first)


@pytest.mark.parametrize("name", LAWS)
def test_the_split_is_the_best_on_its_budget(name):
    "No other size on the same budget has a lower predicted loss."
    n, d = optimal_split(5.76e23, LAWS[name])
    assert 6*n*d == pytest.approx(5.76e23)
    assert all(predict_loss(n, d, LAWS[name]) < predict_loss(n*f, d/f, LAWS[name]) for f in (0.5, 0.9, 1.1, 2))


def test_the_refit_gives_twenty_tokens_per_parameter():
    "At Chinchilla's budget the refitted law lands near 70B parameters and 20 tokens for each."
    n, d = optimal_split(5.76e23, LAWS["besiroglu"])
    assert 50e9 < n < 100e9 and 12 < d/n < 30


def test_the_stored_sweep_is_whole(request, monkeypatch):
    "Every planned point is there, with at least six sizes and five token counts, and says where it comes from."
    monkeypatch.syspath_prepend(request.config.rootpath / "tools")
    import results_sweep
    stored = results_sweep.read_json(results_sweep.OUT)
    values = stored["values"]
    assert all(any(p.items() <= v.items() for v in values) for p in results_sweep.points())
    assert len({v["n_params"] for v in values if v["kind"] == "size"}) >= 6
    assert len({v["tokens"] for v in values if v["kind"] == "tokens"}) >= 5
    assert stored["cpu_seconds"] < 25 * 60 and stored["code"] == results_sweep.CODE
