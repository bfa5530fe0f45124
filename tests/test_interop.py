"A folder is a model: what transformers writes we read to the last bit, what we write it reads, and nothing else is let in."
import json
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from minillm.bpe import SPECIAL_TOKENS, train_bpe
from minillm.interop import (
    FAMILIES, config_from_hf, config_to_hf, fetch_model, from_pretrained, hf_name, save_pretrained, shard_plan, to_halves, token_ids)
from minillm.minigpt import GPTConfig, MiniGPT, undo
from minillm.nanogpt import NanoGPT, NanoGPTConfig, load_gpt2
from minillm.tokenizer import load_tokenizer

RELATIVE = 1e-6 # Of logits in float32, against the largest of them
LLAMA3 = dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=32)
BASE = dict(vocab_size=97, hidden_size=48, intermediate_size=80, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
            max_position_embeddings=64, bos_token_id=0, eos_token_id=0)
GPT2 = dict(vocab_size=97, n_embd=48, n_layer=2, n_head=4, n_positions=64, bos_token_id=0, eos_token_id=0)
THEIRS = {
    "llama": ("Llama", {}), "llama-heads": ("Llama", dict(num_attention_heads=6, num_key_value_heads=6, rms_norm_eps=1e-5)),
    "llama-one-kv": ("Llama", dict(num_attention_heads=6, num_key_value_heads=1)), "llama-three-kv": ("Llama", dict(num_attention_heads=3, num_key_value_heads=3)),
    "llama-head-dim": ("Llama", dict(head_dim=20)), "llama-tied": ("Llama", dict(tie_word_embeddings=True)),
    "llama3": ("Llama", dict(rope_parameters=LLAMA3 | dict(rope_theta=5e5))),
    "linear": ("Llama", dict(rope_parameters=dict(rope_type="linear", factor=4.0, rope_theta=1e4))), "theta": ("Llama", dict(rope_parameters=dict(rope_type="default", rope_theta=1e6))),
    "mistral": ("Mistral", dict(sliding_window=7)), "mistral-one": ("Mistral", dict(sliding_window=1)), "mistral-full": ("Mistral", dict(sliding_window=None)),
    "mistral-wide": ("Mistral", dict(sliding_window=4096)), "qwen2": ("Qwen2", {}), "qwen2-tied": ("Qwen2", dict(tie_word_embeddings=True)),
    "qwen2-window": ("Qwen2", dict(use_sliding_window=True, sliding_window=5, max_window_layers=0)),
    "qwen2-no-window": ("Qwen2", dict(use_sliding_window=True, sliding_window=5, max_window_layers=2)), "qwen3": ("Qwen3", dict(head_dim=16)),
    "gpt2": ("GPT2", {}), "gpt2-exact-gelu": ("GPT2", dict(activation_function="gelu")),
}
OURS = dict(vocab_size=97, max_seq_len=64, n_layer=2, n_head=4, n_kv_head=2, n_embd=48, intermediate_size=80)
CHANGES = {
    "plain": {}, "untied": dict(tied=False), "heads": dict(n_head=6, n_kv_head=3), "head_dim": dict(head_dim=20), "llama3": dict(rope_theta=5e5, rope_scaling=LLAMA3),
    "linear": dict(rope_scaling=dict(type="linear", factor=4.0)), "window": dict(attention="sliding_window", window=5), "biased": dict(qkv_bias=True),
    "biased-window": dict(qkv_bias=True, attention="sliding_window", window=5), "normed": dict(qk_norm=True), "naive": dict(attention="naive"),
    "dropout": dict(dropout=0.1), "interleaved": dict(rope_interleaved=True), "interleaved-biased": dict(rope_interleaved=True, qkv_bias=True),
    "interleaved-normed": dict(rope_interleaved=True, qk_norm=True), "eps": dict(norm_eps=1e-3),
}


@pytest.fixture(scope="module")
def hf():
    transformers = pytest.importorskip("transformers")
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    return transformers


def disturb(model, seed=0):
    "Fresh biases are zero and fresh norms one, which would hide a mistake."
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in model.parameters(): p.add_(0.05 * torch.randn(p.shape, generator=generator))
    return model.eval().requires_grad_(False)


def theirs(hf, name):
    torch.manual_seed(0)
    family, change = THEIRS[name]
    config = getattr(hf, f"{family}Config")(**(GPT2 if family == "GPT2" else BASE) | change)
    return disturb(hf.AutoModelForCausalLM.from_config(config))


def ours(**change):
    torch.manual_seed(0)
    return disturb(MiniGPT(GPTConfig(**OURS | change)))


def nano(**change):
    torch.manual_seed(0)
    return disturb(NanoGPT(NanoGPTConfig(**dict(vocab_size=97, max_seq_len=64, n_layer=2, n_head=4, n_embd=48) | change)))


def probe(T=64): return torch.randint(97, (2, T), generator=torch.Generator().manual_seed(1))
def apart(a, b): return ((a.float() - b.float()).abs().max() / b.float().abs().max()).item()
@pytest.fixture(autouse=True)
def no_gradients():
    "Where one is wanted, a CPU attends in blocks, which round otherwise than the fused kernel that transformers calls."
    with torch.no_grad(): yield


def same(a, b): return a.keys() == b.keys() and all(torch.equal(t, b[n]) and t.dtype == b[n].dtype for n, t in a.items())


def refused(f, *args, **kwargs):
    "The one line of a refusal."
    with pytest.raises((ValueError, OSError)) as caught: f(*args, **kwargs)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400, caught.value
    return str(caught.value)


@pytest.fixture(scope="module")
def tokenizer(): return train_bpe(["the other mother, the feathers"] * 3, 280, SPECIAL_TOKENS)


# ---- from them to us and back


@pytest.mark.parametrize("name", THEIRS)
def test_theirs_to_ours_to_theirs(hf, tmp_path, name):
    "A model that transformers wrote gives its logits here; saved here and opened there, every weight and logit is the same."
    model, idx = theirs(hf, name), probe()
    model.save_pretrained(tmp_path / "theirs")
    read = from_pretrained(tmp_path / "theirs")
    back = hf.AutoModelForCausalLM.from_pretrained(save_pretrained(read, tmp_path / "back"))
    logits = model(idx).logits
    difference, returned = apart(read(idx), logits), (back(idx).logits - logits).abs().max().item()
    print(f"{name}: ours to theirs {difference:.1e} (tolerance {RELATIVE:.0e}), theirs after the way {returned}")
    assert difference <= RELATIVE and returned == 0.0 and same(model.state_dict(), back.state_dict())
    assert not read.training and from_pretrained(tmp_path / "back").config == read.config


@pytest.mark.parametrize("name", ["llama", "llama-tied", "llama3", "mistral", "qwen2", "qwen3", "gpt2"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_two_bytes_in_shards(hf, tmp_path, name, dtype):
    "Shards in bfloat16 and float16, theirs and ours, give the same weights, and logits within the type's rounding."
    idx = probe(20)
    theirs(hf, name).to(dtype).save_pretrained(tmp_path / "theirs", max_shard_size="30KB")
    model = hf.AutoModelForCausalLM.from_pretrained(tmp_path / "theirs") # .to() would round its table of angles as well
    assert (tmp_path / "theirs/model.safetensors.index.json").exists()
    read = from_pretrained(tmp_path / "theirs")
    save_pretrained(read, tmp_path / "back", max_shard_bytes=20_000)
    assert len(list((tmp_path / "back").glob("model-*.safetensors"))) > 2
    back = hf.AutoModelForCausalLM.from_pretrained(tmp_path / "back")
    assert back.dtype == dtype and same(model.state_dict(), back.state_dict())
    assert same(from_pretrained(tmp_path / "back").state_dict(), read.state_dict())
    difference = apart(read(idx), model(idx).logits)
    print(f"{name} {dtype}: {difference:.1e} (tolerance {8 * torch.finfo(dtype).eps:.1e})")
    assert difference <= 8 * torch.finfo(dtype).eps
    wide = from_pretrained(tmp_path / "back", dtype="float32")
    exact = apart(wide(idx), hf.AutoModelForCausalLM.from_pretrained(tmp_path / "theirs", dtype=torch.float32)(idx).logits)
    assert next(wide.parameters()).dtype == torch.float32 and exact <= RELATIVE


# ---- from us to them and back


@pytest.mark.parametrize("name", CHANGES)
def test_ours_to_theirs_to_ours(hf, tmp_path, name):
    "What we save, transformers computes alike; read back it is the same model, and what transformers saves of it as well."
    model, idx = ours(**CHANGES[name]), probe()
    save_pretrained(model, tmp_path / "ours")
    opened = hf.AutoModelForCausalLM.from_pretrained(tmp_path / "ours")
    opened.save_pretrained(tmp_path / "theirs")
    again, back = from_pretrained(tmp_path / "ours"), from_pretrained(tmp_path / "theirs")
    difference = apart(opened(idx).logits, model(idx))
    print(f"{name} as {type(opened).__name__}: {difference:.1e}")
    assert difference <= RELATIVE and same(again.state_dict(), back.state_dict()) and torch.equal(again(idx), back(idx))
    if not model.config.rope_interleaved: assert same(again.state_dict(), model.state_dict())
    if not model.config.rope_interleaved and name != "naive": assert torch.equal(again(idx), model(idx))
    assert apart(again(idx), model(idx)) <= RELATIVE
    expected = dict(rope_interleaved=False, attention="sliding_window" if model.config.attention == "sliding_window" else "sdpa")
    if model.config.rope_scaling: expected["rope_scaling"] = {"rope_type" if k == "type" else k: v for k, v in model.config.rope_scaling.items()}
    assert again.config == replace(model.config, **expected)


@pytest.mark.parametrize("change", [dict(), dict(bias=True), dict(bias=True, gelu="tanh"), dict(gelu="tanh", dropout=0.1)], ids=str)
def test_nanogpt_to_gpt2(hf, tmp_path, change):
    "Week 1's model becomes a GPT-2 that computes alike; without biases it gets zeros, with them it comes back as it was."
    model, idx = nano(**change), probe()
    save_pretrained(model, tmp_path)
    opened = hf.AutoModelForCausalLM.from_pretrained(tmp_path)
    difference = apart(opened(idx).logits, model(idx))
    print(f"{change}: {difference:.1e}")
    assert type(opened).__name__ == "GPT2LMHeadModel" and difference <= RELATIVE
    again = from_pretrained(tmp_path)
    assert torch.equal(again(idx), model(idx)) and again.config == replace(model.config, bias=True)
    if model.config.bias: assert same(again.state_dict(), model.state_dict())
    if model.config.gelu == "tanh": assert torch.equal(load_gpt2(opened)(idx), again(idx))


def test_openai_names(hf, tmp_path):
    "GPT-2's published file has no prefix, stored masks and other idle fields: it is the same model."
    model, idx = theirs(hf, "gpt2"), probe()
    model.save_pretrained(tmp_path)
    tensors = {n.removeprefix("transformer."): t for n, t in load_file(tmp_path / "model.safetensors").items()}
    for i in range(2): tensors[f"h.{i}.attn.bias"] = torch.ones(64, 64).tril().view(1, 1, 64, 64)
    save_file(tensors, tmp_path / "model.safetensors", {"format": "pt"})
    change(tmp_path, n_ctx=64, task_specific_params={"text-generation": {"do_sample": True, "max_length": 50}})
    assert apart(from_pretrained(tmp_path)(idx), model(idx).logits) <= RELATIVE


@pytest.mark.parametrize("spelled", [dict(rope_theta=5e5, rope_scaling=LLAMA3), dict(rope_parameters=LLAMA3 | dict(rope_theta=5e5)),
                                     dict(rope_theta=5e5, rope_scaling={k if k != "rope_type" else "type": v for k, v in LLAMA3.items()}),
                                     dict(rope_theta=5e5, rope_scaling=LLAMA3, rope_parameters=LLAMA3 | dict(rope_theta=5e5, partial_rotary_factor=1.0))],
                         ids=["4", "5", "old", "both"])
def test_spellings_of_rope(hf, tmp_path, spelled):
    "The spellings of transformers 4 and 5 and an older one mean the same model."
    model, idx = ours(rope_theta=5e5, rope_scaling=LLAMA3), probe()
    save_pretrained(model, tmp_path)
    config = {k: v for k, v in read(tmp_path).items() if not k.startswith("rope_")} | spelled
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert torch.equal(from_pretrained(tmp_path)(idx), model(idx)) and from_pretrained(tmp_path).config == model.config
    assert apart(hf.AutoModelForCausalLM.from_pretrained(tmp_path)(idx).logits, model(idx)) <= RELATIVE


def test_llama3_without_its_length(hf, tmp_path):
    "Where a file does not say how long the first texts were, max_position_embeddings counts, as in transformers."
    scaling = {k: v for k, v in LLAMA3.items() if k != "original_max_position_embeddings"}
    hf_config = {k: v for k, v in config_to_hf(GPTConfig(**OURS)).items() if k != "rope_parameters"} | dict(rope_scaling=scaling)
    assert config_from_hf(hf_config).rope_scaling == LLAMA3 | dict(original_max_position_embeddings=64)


DEFAULTS = ["vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_silent_config_means_what_transformers_assumes(hf, family):
    "Fields that a file does not have get the same values in both."
    given = {k: BASE[k] for k in DEFAULTS} if family != "gpt2" else dict(vocab_size=97, n_embd=48, n_layer=2, n_head=4)
    silent = hf.AutoConfig.for_model(family, **given | (dict(hidden_size=128 * 4, num_attention_heads=32) if family.startswith("qwen") else {})
                                     | (dict(num_attention_heads=8) if family == "mistral" else {}))
    spoken = dict(silent.to_dict(), model_type=family)
    less = {k: spoken[k] for k in (*given, "model_type")}
    a, b = config_from_hf(less), config_from_hf({k: v for k, v in spoken.items() if k in FAMILIES[family] or k in less or k.startswith("rope")})
    assert a == b


@pytest.mark.parametrize("family", ["Llama", "Mistral", "Qwen2", "Qwen3", "GPT2"])
def test_every_field_that_transformers_writes_is_known(hf, family):
    "All fields of a full config.json are understood, neutral or idle: none of transformers' own is refused."
    config = getattr(hf, f"{family}Config")(**GPT2 if family == "GPT2" else BASE)
    assert config_from_hf(config.to_dict()).vocab_size == 97


def test_published_configs():
    "Fields of files published at the hub: GPT-2, Llama 2 and 3.2, TinyLlama, SmolLM2, Mistral and Qwen2.5, as far as their keys go."
    plain = dict(architectures=["X"], bos_token_id=1, eos_token_id=[2, 3], hidden_size=64, intermediate_size=96, num_attention_heads=4,
                 num_hidden_layers=2, initializer_range=0.02, max_position_embeddings=128, rms_norm_eps=1e-5, torch_dtype="bfloat16",
                 use_cache=True, vocab_size=97, transformers_version="4.45.0", hidden_act="silu", tie_word_embeddings=True, attention_dropout=0.0)
    llama = plain | dict(model_type="llama", attention_bias=False, mlp_bias=False, pretraining_tp=1, rope_theta=5e5, num_key_value_heads=2, head_dim=16)
    assert config_from_hf(llama | dict(rope_scaling=LLAMA3)).rope_scaling == LLAMA3
    smol = llama | dict(is_llama_config=True, rope_interleaved=False, rope_scaling=None, pad_token_id=2, **{"transformers.js_config": {"kv_cache_dtype": {"q4f16": "float16"}}})
    assert config_from_hf(smol).n_kv_head == 2
    old = {k: v for k, v in llama.items() if k not in ("num_key_value_heads", "head_dim", "rope_theta", "attention_bias", "mlp_bias", "attention_dropout")}
    assert config_from_hf(old | dict(max_sequence_length=2048, pad_token_id=0, _name_or_path="x")).n_kv_head == 4
    qwen = plain | dict(model_type="qwen2", num_key_value_heads=2, rope_theta=1e6, sliding_window=131072, max_window_layers=24, use_sliding_window=False, use_mrope=False)
    assert config_from_hf(qwen).qkv_bias and config_from_hf(qwen).attention == "sdpa"
    mistral = plain | dict(model_type="mistral", num_key_value_heads=2, rope_theta=1e4, sliding_window=4096)
    assert config_from_hf(mistral).window == 4096 and config_from_hf(mistral | dict(sliding_window=None)).window is None
    gpt2 = dict(activation_function="gelu_new", architectures=["GPT2LMHeadModel"], attn_pdrop=0.1, bos_token_id=0, embd_pdrop=0.1, eos_token_id=0, initializer_range=0.02,
                layer_norm_epsilon=1e-5, model_type="gpt2", n_ctx=64, n_embd=48, n_head=4, n_layer=2, n_positions=64, resid_pdrop=0.1, summary_activation=None,
                summary_first_dropout=0.1, summary_proj_to_labels=True, summary_type="cls_index", summary_use_proj=True, task_specific_params={}, vocab_size=97)
    assert config_from_hf(gpt2) == NanoGPTConfig(97, 64, 2, 4, 48, dropout=0.1, bias=True, gelu="tanh")


# ---- what is refused


def read(folder): return json.loads((folder / "config.json").read_text(encoding="utf-8"))


def change(folder, **values):
    (folder / "config.json").write_text(json.dumps(read(folder) | values), encoding="utf-8")
    return folder


@pytest.fixture
def saved(tmp_path): return save_pretrained(ours(), tmp_path / "saved")


FOREIGN = [
    ("'yarn' is not supported", dict(rope_scaling=dict(rope_type="yarn", factor=4.0))), ("'dynamic'", dict(rope_scaling=dict(type="dynamic", factor=4.0))),
    ("'longrope'", dict(rope_parameters=dict(rope_type="longrope", rope_theta=1e4))), ("attention_factor", dict(rope_scaling=dict(LLAMA3, attention_factor=2.0), rope_parameters=None)),
    ("partial_rotary_factor", dict(rope_parameters=dict(rope_type="default", rope_theta=1e4, partial_rotary_factor=0.5))), ("partial_rotary_factor", dict(partial_rotary_factor=0.5)),
    ("factor", dict(rope_scaling=dict(rope_type="linear"), rope_parameters=None)), ("factor", dict(rope_scaling=dict(rope_type="linear", factor="4"), rope_parameters=None)),
    ("disagree", dict(rope_scaling=dict(rope_type="linear", factor=4.0))), ("disagree", dict(rope_theta=5e5)), ("rope_theta", dict(rope_theta=-1.0, rope_parameters=None)),
    ("model_type", dict(model_type="gemma2")), ("model_type", dict(model_type=None)), ("model_type", dict(model_type=["llama"])), ("hidden_act", dict(hidden_act="gelu")),
    ("attention_bias", dict(attention_bias=True)), ("mlp_bias", dict(mlp_bias=True)), ("quantization_config", dict(quantization_config=dict(bits=4))),
    ("auto_map", dict(auto_map={"AutoModel": "modeling.X"})), ("num_local_experts", dict(num_local_experts=8)), ("logit_scale", dict(logit_scale=0.5)),
    ("sliding_window", dict(sliding_window=7)), ("invented", dict(invented=False)), ("hidden_size", dict(hidden_size="48")), ("hidden_size", dict(hidden_size=True)),
    ("hidden_size", dict(hidden_size=48.0)), ("hidden_size", dict(hidden_size=None)), ("vocab_size", dict(vocab_size=-1)), ("rms_norm_eps", dict(rms_norm_eps=0)),
    ("rms_norm_eps", dict(rms_norm_eps=float("nan"))), ("rms_norm_eps", dict(rms_norm_eps=[])), ("tie_word_embeddings", dict(tie_word_embeddings=1)),
    ("n_kv_head (3)", dict(num_key_value_heads=3)), ("head_dim", dict(head_dim=11)), ("head_dim", dict(head_dim="12")), ("layers", dict(num_hidden_layers=3)),
    ("layers", dict(num_hidden_layers=10**12)), ("shape", dict(vocab_size=98)), ("shape", dict(num_key_value_heads=4)), ("shape", dict(intermediate_size=10**9)),
    ("size|shape", dict(hidden_size=10**18)), ("max_position_embeddings", dict(max_position_embeddings=10**9)), ("nothing in the model|missing", dict(model_type="qwen2")), ("missing", dict(model_type="qwen3")), ("missing", dict(tie_word_embeddings=False)),
    ("dropout", dict(dropout="a")), ("dropout", dict(dropout=2.0)), ("wrong type|rope", dict(rope_scaling=[1])), ("wrong type|rope", dict(rope_parameters="linear")),
]


@pytest.mark.parametrize("line, values", FOREIGN, ids=[f"{i} {line}" for i, (line, _) in enumerate(FOREIGN)])
def test_a_config_that_asks_for_more_is_refused_by_name(saved, line, values):
    "Every field that changes the model and is not understood, and every wrong value, ends in one line that names it."
    words = refused(from_pretrained, change(saved, **values))
    assert any(part in words for part in line.split("|")) and str(saved) in words, words


QWEN = [("layer_types", dict(use_sliding_window=True, sliding_window=4, max_window_layers=1, layer_types=None)), ("layer_types", dict(use_sliding_window=True, sliding_window=4, layer_types=["chunked_attention"] * 2)),
        ("layer_types|wrong", dict(use_sliding_window=True, sliding_window=4, layer_types=5)), ("max_window_layers", dict(use_sliding_window=True, sliding_window=4, max_window_layers="a", layer_types=None)),
        ("use_sliding_window", dict(use_sliding_window=1, sliding_window=4)), ("sliding_window", dict(use_sliding_window=True, max_window_layers=0, sliding_window=-4, layer_types=None))]


@pytest.mark.parametrize("line, values", QWEN, ids=[str(i) for i in range(len(QWEN))])
def test_windows_that_differ_are_refused(tmp_path, line, values):
    "Qwen's windows in some layers only, and nonsense in their fields."
    words = refused(from_pretrained, change(save_pretrained(ours(qkv_bias=True), tmp_path), **values))
    assert any(part in words for part in line.split("|")), words


GPT2_FOREIGN = [("n_inner", dict(n_inner=100)), ("activation_function", dict(activation_function="relu")), ("layer_norm_epsilon", dict(layer_norm_epsilon=1e-6)), ("activation|wrong", dict(activation_function=[])),
                ("scale_attn_by_inverse_layer_idx", dict(scale_attn_by_inverse_layer_idx=True)), ("scale_attn_weights", dict(scale_attn_weights=False)), ("tie_word_embeddings", dict(tie_word_embeddings=False)),
                ("add_cross_attention", dict(add_cross_attention=True)), ("resid_pdrop", dict(resid_pdrop="a")), ("shape", dict(n_positions=32))]


@pytest.mark.parametrize("line, values", GPT2_FOREIGN, ids=[line for line, _ in GPT2_FOREIGN])
def test_a_gpt2_config_that_asks_for_more(tmp_path, line, values):
    "GPT-2's own switches are neutral or refused."
    words = refused(from_pretrained, change(save_pretrained(nano(), tmp_path), **values))
    assert any(part in words for part in line.split("|")), words


def test_random_values_never_crash(saved):
    "Whatever stands in a field, the answer is a config or one line."
    rng, base = random.Random(0), config_to_hf(GPTConfig(**OURS))
    odd = [None, True, False, 0, 1, -1, 7, 10**30, 1e400, float("nan"), "", "a", [], [1], {}, {"a": 1}, dict(rope_type=[]), dict(rope_type="llama3"), ["full_attention"]]
    names, seen = [*base, "sliding_window", "use_sliding_window", "max_window_layers", "layer_types", "dropout", "n_inner", "n_embd", "n_head", "n_layer", "n_positions"], [0, 0]
    for _ in range(3000):
        values = base | {rng.choice(names): rng.choice(odd) for _ in range(rng.randint(1, 3))} | dict(model_type=rng.choice(list(FAMILIES)))
        try: config_from_hf(values); seen[0] += 1
        except ValueError as e: assert "\n" not in str(e); seen[1] += 1
    print(f"{seen[0]} accepted, {seen[1]} refused")
    assert min(seen) > 50


def rewrite(folder, edit, name="model.safetensors"):
    tensors = load_file(folder / name)
    edit(tensors)
    save_file(tensors, folder / name, {"format": "pt"})
    return folder


Q = "model.layers.0.self_attn.q_proj.weight"
TENSORS = [
    ("missing", lambda t: t.pop(Q)), ("missing", lambda t: t.pop("model.norm.weight")), ("extra.weight", lambda t: t.update({"extra.weight": torch.ones(2)})),
    ("shape", lambda t: t.update({Q: t[Q][:-1].contiguous()})), ("shape", lambda t: t.update({Q: t[Q].view(-1)})), ("I64", lambda t: t.update({Q: t[Q].long()})),
    ("I8", lambda t: t.update({Q: t[Q].to(torch.int8)})), ("layers", lambda t: [t.pop(n) for n in list(t) if ".layers.1." in n]),
    ("layers", lambda t: t.update({"model.layers.2.x": torch.ones(1)})), ("q_proj.bias", lambda t: t.update({Q.replace("weight", "bias"): torch.zeros(48)})),
    ("not the embedding", lambda t: t.update({"lm_head.weight": t["model.embed_tokens.weight"] + 1e-3})), ("not the embedding", lambda t: t.update({"lm_head.weight": torch.ones(2)})),
    ("missing", lambda t: [t.update({n.removeprefix("model."): t.pop(n)}) for n in list(t) if ".layers." not in n]),
]


@pytest.mark.parametrize("line, edit", TENSORS, ids=[f"{i} {line}" for i, (line, _) in enumerate(TENSORS)])
def test_tensors_that_do_not_fit(saved, line, edit):
    "Missing, extra, misshapen, quantized or contradictory tensors: one line that names the tensor."
    assert line in refused(from_pretrained, rewrite(saved, edit))


def test_a_copy_of_the_head_and_old_buffers_are_let_pass(saved):
    "A tied head stored nevertheless, equal to the embedding, and tables of old files change nothing."
    before = from_pretrained(saved)(probe())
    rewrite(saved, lambda t: t.update({"lm_head.weight": t["model.embed_tokens.weight"].clone(), "model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(6)}))
    model = from_pretrained(saved)
    assert torch.equal(model(probe()), before) and model.lm_head.weight is model.embed.weight


def test_damaged_files(saved, tmp_path):
    "Weights cut anywhere or overwritten, a config that is no JSON or no object, a missing file: one line each."
    whole, config = (saved / "model.safetensors").read_bytes(), (saved / "config.json").read_bytes()
    for n in (0, 1, 7, 8, 100, len(whole) // 2, len(whole) - 1):
        (saved / "model.safetensors").write_bytes(whole[:n])
        assert "damaged" in refused(from_pretrained, saved)
    for wrong in (b"\xff" * 8 + whole[8:], b"\x10" + b"\0" * 7 + b"{}" * 8, whole + b"\0", b"PK\x03\x04" + whole, b"<html></html>"):
        (saved / "model.safetensors").write_bytes(wrong)
        assert "damaged" in refused(from_pretrained, saved)
    (saved / "model.safetensors").unlink()
    assert "holds no model.safetensors" in refused(from_pretrained, saved)
    (saved / "pytorch_model.bin").write_bytes(b"x")
    assert "pickle" in refused(from_pretrained, saved)
    (saved / "pytorch_model.bin").unlink()
    (saved / "model.safetensors").write_bytes(whole)
    for wrong in (b"", b"{", b"[]", b"null", b"\xff", config[:50], b"[" * 100_000):
        (saved / "config.json").write_bytes(wrong)
        assert "config.json" in refused(from_pretrained, saved)
    (saved / "config.json").unlink()
    assert "holds no config.json" in refused(from_pretrained, saved)


def test_flipped_bytes_never_crash(saved):
    "A changed byte anywhere in a header, or in the config, gives one line or a model of the right shapes."
    rng, opened = random.Random(0), 0
    for name, n_bytes, times in (("model.safetensors", 1500, 200), ("config.json", None, 200)):
        whole = (saved / name).read_bytes()
        for _ in range(times):
            wrong = bytearray(whole)
            for _ in range(rng.randint(1, 2)): wrong[rng.randrange(n_bytes or len(whole))] = rng.choice(b'"0129{}[],:.- \\\xff\x00aF')
            (saved / name).write_bytes(wrong)
            try: from_pretrained(saved); opened += 1
            except ValueError as e: assert "\n" not in str(e) and str(saved) in str(e), e
        (saved / name).write_bytes(whole)
    print(f"{opened} of 400 opened")
    assert 0 < opened < 400


def test_an_index_that_lies(tmp_path):
    "A shard that is missing, a name that leads elsewhere, a tensor in another file than promised: one line each."
    folder = save_pretrained(ours(), tmp_path / "shards", max_shard_bytes=30_000)
    index, first = folder / "model.safetensors.index.json", "model-00001-of-"
    good = json.loads(index.read_text())
    one = next(f for f in good["weight_map"].values() if f.startswith(first))
    lies = [(lambda m: m.update({Q: "../shards/" + one}), "damaged"), (lambda m: m.update({Q: "/etc/passwd"}), "damaged"), (lambda m: m.update({Q: 5}), "damaged"),
            (lambda m: m.update({Q: "model-00009-of-00001.safetensors"}), "lacks"), (lambda m: m.pop(Q), "disagree"), (lambda m: m.update({"x": one}), "disagree")]
    for lie, line in lies:
        wrong = json.loads(json.dumps(good))
        lie(wrong["weight_map"])
        index.write_text(json.dumps(wrong))
        assert line in refused(from_pretrained, folder)
    for wrong in ("{", "[]", "{}", '{"weight_map": []}'):
        index.write_text(wrong)
        assert "damaged" in refused(from_pretrained, folder)
    index.write_text(json.dumps(good))
    (folder / one).unlink()
    assert one in refused(from_pretrained, folder)


def large(x):
    model = ours()
    model.norm.weight[0] = x
    return model


def test_what_cannot_be_saved(tmp_path, tokenizer):
    "A model that no family has, another kind of model, a tokenizer that is too large, a strange dtype, numbers beyond it: refused, and nothing stays."
    grown = ours()
    grown.blocks[0].mlp.extra = torch.nn.Linear(2, 2)
    odd = ours()
    odd.config.attention = "mine"
    for model, kwargs, line in ((ours(qkv_bias=True, qk_norm=True), {}, "qkv_bias"), (torch.nn.Linear(2, 2), {}, "MiniGPT"), (ours(), dict(tokenizer=tokenizer), "vocab_size"),
                                (large(7e4), dict(dtype="float16"), "norm.weight"), (large(float("nan")), {}, "norm.weight"), (ours(), dict(dtype="int8"), "dtype"), (ours(), dict(dtype=torch.float64), "dtype"), (grown, {}, "extra"), (odd, {}, "attention"), *((undo(ours(), what), {}, "differs") for what in ("rmsnorm", "swiglu", "rope", "no biases"))):
        assert line in refused(save_pretrained, model, tmp_path / "none", **kwargs)
    assert not list(tmp_path.glob("none/*"))
    assert from_pretrained(save_pretrained(large(7e4), tmp_path / "bf16", dtype="bfloat16")).norm.weight[0] == 70144


# ---- bytes


def test_bf16_halves_the_bytes(tmp_path):
    "Two bytes a number: half the file, but for the header."
    model = ours(n_embd=96, intermediate_size=256)
    sizes = {d: (save_pretrained(model, tmp_path / d, dtype=d) / "model.safetensors").stat().st_size for d in ("float32", "bfloat16", "float16")}
    print(sizes)
    assert 0.5 <= sizes["bfloat16"] / sizes["float32"] < 0.51 and abs(sizes["float16"] - sizes["bfloat16"]) < 100 # the header's "BF16" and "F16"
    assert same(from_pretrained(tmp_path / "bfloat16").state_dict(), {n: t.bfloat16() for n, t in model.state_dict().items()})
    assert read(tmp_path / "bfloat16")["dtype"] == read(tmp_path / "bfloat16")["torch_dtype"] == "bfloat16"


def test_the_same_model_gives_the_same_bytes(tmp_path, tokenizer):
    "Saving twice, and saving what was loaded, writes equal files."
    model = ours(vocab_size=len(tokenizer))
    a, b = (files(save_pretrained(m, tmp_path / str(i), tokenizer)) for i, m in enumerate((model, ours(vocab_size=len(tokenizer)))))
    assert a == b == files(save_pretrained(from_pretrained(tmp_path / "0"), tmp_path / "2", load_tokenizer(tmp_path / "0")))


def test_shard_plan():
    "Every tensor once, in order; no file over the limit unless a single tensor is."
    rng = random.Random(0)
    for _ in range(200):
        sizes, limit = {str(i): rng.randint(1, 20) for i in range(rng.randint(1, 20))}, rng.randint(1, 40)
        plan = shard_plan(sizes, limit)
        assert sum(plan, []) == list(sizes) and all(names and (len(names) == 1 or sum(sizes[n] for n in names) <= limit) for names in plan)
        assert all(sum(sizes[n] for n in a) + sizes[b[0]] > limit for a, b in zip(plan, plan[1:]))


def test_to_halves_keeps_scores():
    "Queries and keys in the other order have the same scores under the other rotation."
    q, k = torch.randn(2, 24, generator=torch.Generator().manual_seed(0))
    assert torch.allclose((to_halves(q, 8) * to_halves(k, 8)).view(3, 8).sum(1), (q * k).view(3, 8).sum(1))
    assert to_halves(torch.arange(6), 6).tolist() == [0, 2, 4, 1, 3, 5]


def test_hf_names_are_transformers_own(hf):
    "Every tensor of a MiniGPT has the name that LlamaForCausalLM gives it."
    assert {hf_name(n) for n in ours(tied=False).state_dict()} == set(theirs(hf, "llama").state_dict())


def test_no_transformers_is_imported(tmp_path):
    "Saving and loading need no transformers, and importing the module is quick about it."
    code = ("import sys; from minillm.interop import *; from minillm.minigpt import *\n"
            f"from_pretrained(save_pretrained(MiniGPT(GPTConfig(vocab_size=9)), {str(tmp_path)!r}))\n"
            "assert not {'transformers', 'huggingface_hub'} & set(sys.modules)")
    subprocess.run([sys.executable, "-c", code], check=True)


def test_loading_draws_no_random_number(saved):
    "The global generator stands where it stood."
    torch.manual_seed(5)
    state = torch.get_rng_state()
    from_pretrained(saved)
    assert torch.equal(torch.get_rng_state(), state)


@torch.enable_grad()
def test_the_model_is_free_of_its_files(saved):
    "A loaded model trains, and the files may be deleted or overwritten meanwhile."
    model = from_pretrained(saved)
    assert all(p.requires_grad for p in model.parameters()) and model.lm_head.weight is model.embed.weight
    save_pretrained(ours(tied=False), saved)
    (saved / "model.safetensors").write_bytes(b"")
    model(probe()).mean().backward()
    assert all(p.grad is not None for p in model.parameters())


@pytest.mark.slow
def test_compiled_models_are_saved_under_their_own_names(tmp_path):
    "A compiled model's folder is that of the model inside."
    model = ours()
    save_pretrained(torch.compile(model), tmp_path)
    assert same(from_pretrained(tmp_path).state_dict(), model.state_dict())


# ---- tokenizer and stopping


def test_the_whole_folder_in_transformers(hf, tmp_path, tokenizer):
    "AutoModel and AutoTokenizer open the folder; generate stops at the end of a text and of a turn, and pads."
    model = ours(vocab_size=len(tokenizer))
    folder = save_pretrained(model, tmp_path, tokenizer, generation=dict(max_new_tokens=30))
    assert {p.name for p in folder.iterdir()} == {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"}
    assert load_tokenizer(folder).vocab == tokenizer.vocab
    opened, auto = hf.AutoModelForCausalLM.from_pretrained(folder), hf.AutoTokenizer.from_pretrained(folder)
    special = tokenizer.special_tokens
    assert opened.generation_config.eos_token_id == [special["<|endoftext|>"], special["<|im_end|>"]] and opened.generation_config.pad_token_id == special["<|pad|>"]
    ids = auto("the other", return_tensors="pt")
    greedy = opened.generate(**ids, do_sample=False)[0].tolist()
    out = ids["input_ids"][0].tolist()
    with torch.no_grad():
        while len(out) < len(ids["input_ids"][0]) + 30 and out[-1] not in token_ids(tokenizer)["eos_token_id"]: out.append(model(torch.tensor([out]))[0, -1].argmax().item())
    assert greedy == out


@pytest.mark.parametrize("end", ["<|endoftext|>", "<|im_end|>"])
def test_generate_stops(hf, tmp_path, tokenizer, end):
    "A model that only ever says one of the two ends says it once."
    model, stop = ours(vocab_size=len(tokenizer), tied=False), tokenizer.special_tokens[end]
    with torch.no_grad():
        model.lm_head.weight.zero_()
        model.norm.weight.zero_()
        model.lm_head.weight[stop] = 1
        model.norm.weight += 1
        for block in model.blocks: block.attn.o_proj.weight.zero_(); block.mlp.down_proj.weight.zero_()
        model.embed.weight.fill_(1)
    opened = hf.AutoModelForCausalLM.from_pretrained(save_pretrained(model, tmp_path, tokenizer))
    assert opened.generate(torch.tensor([[5, 6]]), attention_mask=torch.ones(1, 2), max_new_tokens=9, do_sample=False)[0].tolist() == [5, 6, stop]


def test_token_ids(tokenizer):
    "Roles of the special tokens; none of them without a tokenizer, and config.json says so rather than leaving transformers to guess."
    assert token_ids(None) == dict(bos_token_id=None, eos_token_id=None, pad_token_id=None)
    assert token_ids(train_bpe(["a"], 258, ("<|endoftext|>",)))["eos_token_id"] == [0]


# ---- whole or not at all


def files(folder): return {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()}


def test_what_else_the_folder_holds_stays(saved):
    "Training state and notes beside a model are not touched; shards of an older save go."
    (saved / "training").mkdir()
    (saved / "training/state.json").write_text("{}")
    (saved / "README.md").write_text("mine")
    (saved / "model-extra.safetensors").write_bytes(b"mine")
    save_pretrained(ours(), saved, max_shard_bytes=30_000)
    assert not (saved / "model.safetensors").exists() and (saved / "model.safetensors.index.json").exists()
    save_pretrained(ours(), saved)
    assert sorted(p.name for p in saved.iterdir()) == ["README.md", "config.json", "generation_config.json", "model-extra.safetensors", "model.safetensors", "training"]
    assert (saved / "training/state.json").read_text() == "{}"


def stopping(call, calls):
    "From the moment on when the calls are used up everything fails, as for a process that is gone."
    def f(*args, **kwargs):
        if not next(calls, False): raise KeyboardInterrupt
        return call(*args, **kwargs)
    return f


def test_a_failure_anywhere_leaves_one_whole_model(tmp_path, monkeypatch):
    "Whichever call to the disk is the last one, the folder gives the old model or the new one, whole, and other files are untouched."
    old, new = ours(), ours(n_layer=1, n_head=2)
    place, seen, left = tmp_path / "place", set(), 0
    real = {name: getattr(os, name) for name in ("fsync", "replace", "rename", "unlink", "mkdir", "rmdir")}
    while True:
        shutil.rmtree(place, ignore_errors=True)
        save_pretrained(old, place, max_shard_bytes=100_000)
        calls = iter([True] * left)
        for name, call in real.items(): monkeypatch.setattr(os, name, stopping(call, calls))
        try: save_pretrained(new, place)
        except KeyboardInterrupt: finished = False
        else: finished = True
        for name, call in real.items(): monkeypatch.setattr(os, name, call)
        model = from_pretrained(place)
        seen.add(model.config.n_layer)
        expected = new if model.config.n_layer == 1 else old
        assert same(model.state_dict(), expected.state_dict()), left
        save_pretrained(expected, place)
        assert sorted(p.name for p in place.iterdir()) == ["config.json", "generation_config.json", "model.safetensors"]
        if finished: break
        left += 1
    print(f"stopped at {left} places")
    assert seen == {1, 2} and left > 10


def save_for_ever(folder, models):
    while True:
        for n, model in models.items(): save_pretrained(model, folder, max_shard_bytes=20_000 if n == 2 else 10**9)


@pytest.mark.slow
@pytest.mark.posix
def test_killed_at_any_moment(tmp_path):
    "SIGKILL at forty random moments of an endless row of saves, in one file and in several: the folder opens each time and holds one model."
    models = {n: ours(n_layer=n, tied=n == 1) for n in (2, 1)}
    for n, model in models.items():
        for p in model.parameters(): p.fill_(n)
    rng, seen = random.Random(0), []
    save_pretrained(models[1], tmp_path)
    for _ in range(40):
        process = multiprocessing.get_context("fork").Process(target=save_for_ever, args=(tmp_path, models))
        process.start()
        time.sleep(rng.uniform(0, 1))
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        model = from_pretrained(tmp_path)
        assert all((p == model.config.n_layer).all() for p in model.parameters())
        seen.append(model.config.n_layer)
    print(seen)
    assert set(seen) == {1, 2}


# ---- names


class Hub(BaseHTTPRequestHandler):
    "Lists a repository's files at a commit, and gives each."
    def log_message(self, *args): pass
    def do_HEAD(self): self.do_GET()

    def do_GET(self):
        name, sha, known = self.path.rsplit("/", 1)[-1].partition("?")[0], "c0ffee" * 6 + "beef", "/me/model" in self.path
        self.server.seen.append(name)
        tree = [dict(type="file", path=n, size=len(b), oid=str(i)) for i, (n, b) in enumerate(self.server.files.items())]
        info = dict(id="me/model", sha=sha, siblings=[dict(rfilename=n) for n in self.server.files])
        data = json.dumps(tree if "/tree/" in self.path else info).encode() if self.path.startswith("/api") else self.server.files.get(name, b"")
        self.send_response(200 if known else 404)
        if not known: self.send_header("X-Error-Code", "RepoNotFound")
        for key, value in dict(ETag=f'"{hash(data)}"').items(): self.send_header(key, value)
        self.send_header("X-Repo-Commit", sha)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command == "GET": self.wfile.write(data)


@pytest.fixture
def hub(monkeypatch, tmp_path):
    from huggingface_hub import constants
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.chdir(tmp_path)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.seen, server.files, server.address = [], {}, f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("limit", [10**9, 30_000])
def test_a_model_by_name(hub, tmp_path, tokenizer, limit):
    "By its name at the hub a model comes with its tokenizer; pickles, code and other copies of the weights are never asked for."
    model = ours(vocab_size=len(tokenizer))
    wanted = files(save_pretrained(model, tmp_path / "here", tokenizer, max_shard_bytes=limit))
    hub.files = wanted | {"pytorch_model.bin": b"x", "modeling_x.py": b"x", "consolidated.safetensors": b"x", "onnx/model.onnx": b"x", "onnx/config.json": b"x", "original/consolidated.00.pth": b"x", "README.md": b"x"}
    got = from_pretrained("me/model", endpoint=hub.address)
    assert same(got.state_dict(), model.state_dict()) and set(hub.seen) & set(hub.files) == set(wanted)
    folder = fetch_model("me/model", endpoint=hub.address)
    assert files(folder) == wanted and load_tokenizer(folder).vocab == tokenizer.vocab
    assert "v1" not in hub.seen
    from_pretrained("me/model", revision="v1", endpoint=hub.address)
    assert "v1" in hub.seen


def test_a_hub_with_pickles_only(hub):
    "A repository without safetensors is refused, its pickle not fetched."
    hub.files = {"config.json": json.dumps(config_to_hf(GPTConfig(**OURS))).encode(), "pytorch_model.bin": b"x"}
    assert "no model.safetensors" in refused(from_pretrained, "me/model", endpoint=hub.address) and "pytorch_model.bin" not in hub.seen


def test_names_that_are_nothing(hub, saved, tmp_path):
    "Neither folder nor name, a file, a repository that does not exist, no network: one line with the fix."
    for name in ("/none/where", "a/b/c", "../x", "a b", "C:\\models", "runs/base/", "~/model"): assert "no folder" in refused(from_pretrained, name, endpoint=hub.address)
    assert not hub.seen
    assert "is a file" in refused(from_pretrained, saved / "config.json")
    assert "the hub does not give it" in refused(from_pretrained, "me/other", endpoint=hub.address)
    assert "check the name and the network" in refused(from_pretrained, "me/model", endpoint="http://127.0.0.1:9")


# ---- the older transformers

OLD = """
import json, sys
sys.path.append(sys.argv[2]) # torch of the newer environment, after everything of this one
import torch, transformers
transformers.logging.set_verbosity_error()
out = {}
for name in json.loads(sys.argv[3]):
    model = transformers.AutoModelForCausalLM.from_pretrained(f"{sys.argv[1]}/{name}").eval()
    with torch.no_grad(): out[name] = model(torch.arange(40)[None]).logits[0].tolist()
    model.save_pretrained(f"{sys.argv[1]}/{name}-old")
print(json.dumps(dict(version=transformers.__version__, logits=out)))
"""


@pytest.mark.slow
def test_transformers_4_57(tmp_path):
    "The older transformers opens what we save and computes alike; what it saves in its own spelling is read here as the same model."
    python = os.environ.get("TRANSFORMERS_457") or pytest.skip("set TRANSFORMERS_457 to a Python of its own environment with transformers==4.57.6 and jinja2")
    models = {name: ours(**change) for name, change in CHANGES.items()} | {"gpt2": nano(bias=True, gelu="tanh")}
    for name, model in models.items(): save_pretrained(model, tmp_path / name)
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | dict(HF_HUB_OFFLINE="1")
    done = subprocess.run([python, "-c", OLD, str(tmp_path), str(Path(torch.__file__).parent.parent), json.dumps(list(models))], capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["version"].startswith("4.57")
    for name, model in models.items():
        difference = apart(torch.tensor(found["logits"][name]), model(torch.arange(40)[None])[0])
        print(f"{name}: {difference:.1e}")
        assert difference <= RELATIVE and same(from_pretrained(tmp_path / f"{name}-old").state_dict(), from_pretrained(tmp_path / name).state_dict())
        assert from_pretrained(tmp_path / f"{name}-old").config == from_pretrained(tmp_path / name).config
