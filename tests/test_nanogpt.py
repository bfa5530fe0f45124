"nanogpt: parity with GPT-2, properties of the model, the loop and the checkpoint."
import json
import math

import pytest
import torch
from torch.nn import functional as F

from minillm import nanogpt
from minillm.nanogpt import (PRESETS, CharVocab, NanoGPT, NanoGPTConfig, TrainConfig, adamw, evaluate, generate, get_batch,
                             known_words, load_checkpoint, load_gpt2, lr_at, next_token_loss, ngram_bits_per_byte,
                             save_checkpoint, train, write_atomic)

LOGITS = 1e-5  # parity.md, week 1: 5.4e-7 was seen
ATTENTION = 1e-6


def tiny(seed=0, **changes):
    torch.manual_seed(seed)
    return NanoGPT(NanoGPTConfig(**dict(vocab_size=11, max_seq_len=8, n_layer=2, n_head=2, n_embd=16) | changes))


def gpt2(n_head=4, n_embd=48):
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    hf = transformers.GPT2LMHeadModel(transformers.GPT2Config(
        vocab_size=97, n_positions=150, n_embd=n_embd, n_layer=3, n_head=n_head, bos_token_id=0, eos_token_id=0)).eval()
    for p in hf.parameters(): p.data += 0.1 * torch.randn_like(p)  # biases and gains that are not all 0 and 1
    return hf


@pytest.mark.parametrize("n_head,n_embd", [(4, 48), (3, 48), (1, 8)])
def test_logits_of_gpt2(n_head, n_embd, capsys):
    "With a GPT2LMHeadModel's weights, the logits are its logits."
    hf = gpt2(n_head, n_embd)
    idx = torch.randint(97, (3, 150), generator=torch.Generator().manual_seed(1))  # two blocks of queries and a rest
    with torch.no_grad(): difference = (load_gpt2(hf)(idx) - hf(idx).logits).abs().max().item()
    with capsys.disabled(): print(f"\nnanogpt beside GPT2LMHeadModel, {n_head} heads: {difference:.1e} (tolerance {LOGITS})")
    assert difference < LOGITS


def test_gradients_of_gpt2():
    "The gradients are GPT-2's gradients too."
    hf = gpt2()
    ours = load_gpt2(hf).train()
    idx = torch.randint(97, (2, 131), generator=torch.Generator().manual_seed(2))
    next_token_loss(ours, idx[:, :-1], idx[:, 1:]).backward()
    F.cross_entropy(hf(idx[:, :-1]).logits.flatten(0, 1), idx[:, 1:].flatten()).backward()
    assert torch.allclose(ours.wte.weight.grad, hf.transformer.wte.weight.grad, atol=1e-5, rtol=1e-4)
    assert torch.allclose(ours.h[0].attn.c_attn.weight.grad, hf.transformer.h[0].attn.c_attn.weight.grad.T, atol=1e-5, rtol=1e-4)


def test_exact_gelu_is_not_gpt2():
    "A planted mistake, the exact GELU instead of GPT-2's, is caught by the tolerance."
    hf, idx = gpt2(), torch.arange(32)[None]
    ours = load_gpt2(hf)
    for block in ours.h: block.mlp.gelu = "none"
    with torch.no_grad(): assert (ours(idx) - hf(idx).logits).abs().max() > LOGITS


def test_other_activation_is_refused():
    "A GPT-2 with another activation is refused by name."
    hf = gpt2()
    hf.config.activation_function = "relu"
    with pytest.raises(ValueError, match="activation_function .'relu'. must be 'gelu_new'"): load_gpt2(hf)


@pytest.mark.parametrize("T", [1, 16, 63, 64, 65, 128, 150])
def test_attention_is_torchs(T):
    "The blocks of queries equal torch's causal attention, outputs and gradients, whatever is left over for the last block."
    torch.manual_seed(0)
    attn, x = nanogpt.CausalSelfAttention(NanoGPTConfig(max_seq_len=150, n_head=4, n_embd=32)), torch.randn(3, T, 32)
    q, k, v = (t.view(3, T, 4, 8).transpose(1, 2) for t in attn.c_attn(x).split(32, dim=2))
    y = attn.c_proj(F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(3, T, 32))
    assert (attn(x) - y).abs().max() < ATTENTION
    weight, direction = attn.c_attn.weight, torch.randn_like(y)
    ours, theirs = (torch.autograd.grad((z*direction).sum(), weight)[0] for z in (attn(x), y))
    assert torch.allclose(ours, theirs, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("T,t", [*((8, t) for t in range(8)), *((140, t) for t in (0, 63, 64, 65, 127, 128, 139))])
def test_causality(T, t):
    "Changing token t changes no logits before t, by not a single bit."
    model, idx = tiny(max_seq_len=T), torch.randint(11, (1, T), generator=torch.Generator().manual_seed(3))
    changed = idx.clone()
    changed[0, t] = (changed[0, t] + 1) % 11
    with torch.no_grad(): moved = (model(idx) - model(changed)).abs().amax(-1)[0]
    assert moved[:t].sum() == 0 and moved[t] > 0


def test_first_loss_is_a_blind_guess():
    "An untrained model loses log V."
    idx = torch.randint(65, (8, 65), generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    model = NanoGPT(NanoGPTConfig(**PRESETS["cpu"]))
    assert abs(next_token_loss(model, idx[:, :-1], idx[:, 1:]).item() - math.log(65)) < 0.1


def test_presets_are_nanogpts():
    "`cpu` is nanoGPT's published CPU configuration, `6m` has about six million parameters."
    assert PRESETS["cpu"] == dict(max_seq_len=64, n_layer=4, n_head=4, n_embd=128)
    count = lambda name: sum(p.numel() for p in NanoGPT(NanoGPTConfig(256, **PRESETS[name])).parameters())
    assert 0.8e6 < count("cpu") < 0.85e6 and 5.9e6 < count("6m") < 6.3e6 and 10.5e6 < count("10m") < 11e6


@pytest.mark.parametrize("change,words", [
    (dict(n_embd=100, n_head=3), "n_embd (100) must be divisible by n_head (3); try 99 or 102"),
    (dict(n_layer=0), "n_layer (0) must be at least 1"), (dict(dropout=1.0), "dropout (1.0) must lie in [0, 1)"),
    (dict(gelu="relu"), "gelu ('relu') must be 'none' or 'tanh'"), (dict(n_head=0), "n_head (0) must be at least 1")])
def test_impossible_shapes(change, words):
    "An impossible shape is refused with the name, the value and a fix."
    with pytest.raises(ValueError) as e: NanoGPTConfig(**change)
    assert words in str(e.value)


def test_batches_are_a_function_of_the_seed():
    "The same seed draws the same windows, another seed others, and y is x one token on."
    ids = torch.arange(1000)
    x, y = get_batch(ids, 4, 16, seed=7)
    assert torch.equal(y, x + 1) and torch.equal(x, get_batch(ids, 4, 16, seed=7)[0])
    assert not torch.equal(x, get_batch(ids, 4, 16, seed=8)[0])


def test_every_window_can_be_drawn():
    "The first and the last window are drawn too, and none runs over the end."
    starts = torch.cat([get_batch(torch.arange(10), 64, 6, seed)[0][:, 0] for seed in range(8)])
    assert sorted(set(starts.tolist())) == [0, 1, 2, 3]


def test_short_text_is_refused():
    "A text shorter than one window is one clear error, in training and in evaluation."
    for f in (lambda: get_batch(torch.arange(8), 1, 8, 0), lambda: evaluate(tiny(), torch.arange(8), 8)):
        with pytest.raises(ValueError, match="too short for a window of 8"): f()


def test_vocabulary():
    "Encoding and decoding are inverse, and an unknown character is named."
    vocab = CharVocab("héllo ☃\n")
    assert vocab.decode(vocab.encode("☃ hello\n".replace("e", "é"))) == "☃ héllo\n"
    with pytest.raises(ValueError, match="character 'z' is not among the"): vocab.encode("z")


def test_learning_rate():
    "It rises to lr exactly at the end of the warm-up, never exceeds it, and ends at min_lr."
    cfg = TrainConfig(max_steps=500, warmup_steps=50)
    rates = [lr_at(s, cfg) for s in range(501)]
    assert max(rates) == rates[50] == cfg.lr and math.isclose(rates[500], cfg.min_lr) and rates[0] > 0
    assert rates[:51] == sorted(rates[:51]) and rates[50:] == sorted(rates[50:], reverse=True)


def test_weight_decay_spares_vectors():
    "Only matrices and embeddings decay."
    decayed, spared = adamw(tiny(bias=True), TrainConfig()).param_groups
    assert all(p.dim() >= 2 for p in decayed["params"]) and all(p.dim() == 1 for p in spared["params"])
    assert (decayed["weight_decay"], spared["weight_decay"]) == (0.1, 0.0)


def test_one_batch_overfits():
    "Eighteen characters are learned by heart."
    ids = CharVocab("to be or not to be").encode("to be or not to be")
    cfg = TrainConfig(max_steps=150, warmup_steps=5, lr=5e-3, min_lr=5e-4, eval_every=150)
    model = tiny(vocab_size=7, max_seq_len=17, n_embd=32)
    losses = [loss["train"] for _, loss in train(model, ids, ids, cfg)]
    assert losses[-1] < 0.1 < 1.5 < losses[0]


def test_evaluate_covers_every_window():
    "The loss over all windows equals the mean of one-by-one losses, and leaves the training mode as it was."
    model, ids = tiny().train(), torch.randint(11, (100,), generator=torch.Generator().manual_seed(0))
    one_by_one = [next_token_loss(model, ids[None, s:s + 8], ids[None, s + 1:s + 9]).item() for s in range(0, 92, 8)]
    assert math.isclose(evaluate(model, ids, 8), sum(one_by_one) / len(one_by_one), rel_tol=1e-6) and model.training


def test_resume_is_exact(tmp_path):
    "Stopped after any step and resumed from the file, a run ends with the very same weights and losses."
    cfg = TrainConfig(max_steps=8, micro_batch_size=2, warmup_steps=2, eval_every=4)
    ids = torch.randint(11, (200,), generator=torch.Generator().manual_seed(0))
    whole = tiny()
    losses = dict(train(whole, ids, ids, cfg))
    for stop in (1, 5):
        model = tiny()
        optimizer = adamw(model, cfg)
        for step, _ in train(model, ids, ids, cfg, optimizer):
            if step == stop: save_checkpoint(tmp_path / "c.safetensors", model, optimizer, dict(step=step)); break
        model = tiny(seed=9)
        optimizer = adamw(model, cfg)
        about = load_checkpoint(tmp_path / "c.safetensors", model, optimizer)
        rest = dict(train(model, ids, ids, cfg, optimizer, about["step"]))
        assert rest == {s: v for s, v in losses.items() if s > stop}
        assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), model.parameters()))


def test_checkpoint_of_another_model_is_refused(tmp_path):
    "A checkpoint of another shape, and a damaged one, are one clear error each."
    cfg, model = TrainConfig(), tiny()
    path = tmp_path / "c.safetensors"
    save_checkpoint(path, model, adamw(model, cfg), dict(step=0))
    other = tiny(n_embd=32)
    with pytest.raises(ValueError, match="cannot be used .*; delete it"): load_checkpoint(path, other, adamw(other, cfg))
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match="cannot be used .*; delete it"): load_checkpoint(path, model, adamw(model, cfg))


def test_bad_weights_are_never_saved(tmp_path):
    "Weights that are not finite are refused, and the older file stays."
    model = tiny()
    optimizer = adamw(model, TrainConfig())
    save_checkpoint(tmp_path / "c", model, optimizer, dict(step=1))
    before = (tmp_path / "c").read_bytes()
    model.wte.weight.data[0, 0] = math.nan
    with pytest.raises(AssertionError, match="step 2 are not finite"): save_checkpoint(tmp_path / "c", model, optimizer, dict(step=2))
    assert (tmp_path / "c").read_bytes() == before


def test_atomic_write_keeps_the_old_file(tmp_path, monkeypatch):
    "When writing fails half-way the old content stays and no part is left behind."
    write_atomic(tmp_path / "f.json", dict(a=1))
    monkeypatch.setattr(nanogpt.os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError): write_atomic(tmp_path / "f.json", dict(a=2))
    assert json.loads((tmp_path / "f.json").read_text(encoding="utf-8")) == dict(a=1) and len(list(tmp_path.iterdir())) == 1


def test_generation():
    "Greedy text needs no seed, a seed repeats a sample, top_k=1 is greedy, and the window slides past max_seq_len."
    model, prompt = tiny(), torch.tensor([[1, 2]])
    greedy = generate(model, prompt, 20, temperature=0)
    assert greedy.shape == (1, 22) and torch.equal(greedy, generate(model, prompt, 20, temperature=0, seed=5))
    assert torch.equal(generate(model, prompt, 20, top_k=1), greedy)
    assert torch.equal(generate(model, prompt, 20, seed=5), generate(model, prompt, 20, seed=5))
    assert torch.equal(greedy[:, :3], torch.cat([prompt, model(prompt)[:, -1].argmax(-1, keepdim=True)], 1))


def test_temperature_and_top_k_distribution():
    "Sampled frequencies follow softmax(logits / temperature), cut to the k likeliest."
    model, prompt = tiny(), torch.zeros(4000, 1, dtype=torch.int64)
    torch.nn.init.normal_(model.wte.weight, std=1.0)
    with torch.no_grad(): logits = model(prompt[:1])[0, -1] / 0.7
    kept = logits.topk(3).indices
    p = torch.zeros(11).scatter(0, kept, logits[kept].softmax(-1))
    counts = torch.bincount(generate(model, prompt, 1, temperature=0.7, top_k=3)[:, -1], minlength=11)
    assert (counts[p == 0] == 0).all() and (counts / 4000 - p).abs().max() < 0.03


def test_ngram_is_a_distribution():
    "Over all 256 possible next bytes, probabilities sum to one."
    text = b"the cat sat on the mat"
    p = [2 ** -(3 * ngram_bits_per_byte(text, b"th" + bytes([b]), 3) - 2 * ngram_bits_per_byte(text, b"th", 3)) for b in range(256)]
    assert math.isclose(sum(p), 1, rel_tol=1e-9)


def test_ngram_against_a_slow_one():
    "The vectorised n-gram equals a dictionary-based one."
    def slow(seen, asked, n):
        bits = 0
        for i, b in enumerate(asked):
            p = 1 / 256
            for k in range(min(n - 1, i) + 1):
                after = [seen[j + k] for j in range(len(seen) - k) if seen[j:j + k] == asked[i - k:i]]
                if after: p = (after.count(b) + len(set(after)) * p) / (len(after) + len(set(after)))
            bits -= math.log2(p)
        return bits / len(asked)
    seen, asked = b"return the length of the list, or the last of them", b"the lens of the lot \xff"
    for n in range(1, 6): assert math.isclose(ngram_bits_per_byte(seen, asked, n), slow(seen, asked, n), rel_tol=1e-9)


def test_known_words():
    "Words of four letters or more count, whatever stands between them; digits and underscores are no letters."
    assert known_words("read_file reads filee", "read file") == 2 / 4 and math.isnan(known_words("a b", "a b"))


@pytest.mark.slow
def test_reproduces_nanogpt(request):
    "Two thousand iterations of nanoGPT's CPU configuration on tiny Shakespeare reach its validation loss."
    path = request.config.rootpath.parent / "shared" / "data" / "tinyshakespeare" / "input.txt"
    if not path.exists(): pytest.skip("tiny Shakespeare is not in ../shared/data")
    from minillm.cli import NanoGPTRun, run_nanogpt
    assert run_nanogpt(NanoGPTRun(path)) <= 1.90  # nanoGPT itself, measured beside: 1.8857
