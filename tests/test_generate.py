"generate: every fast way equals the slow one; choosing, stopping and streaming do what they say."
import math
import os
import subprocess
import sys
from dataclasses import replace
from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from minillm import generate as module
from minillm import nanogpt
from minillm.bpe import BYTE_ORDER, Tokenizer, train_bpe
from minillm.generate import (KVCache, SamplingConfig, TextStream, accept, apply_temperature, beam_search, decode_steps, draw, fast_decoder,
                              generate, min_p_filter, process_logits, repetition_penalty, speculative, stream, top_k_filter, top_p_filter)
from minillm.minigpt import ATTENTION, GPTConfig, MiniGPT

LOGITS = 2e-5  # cached beside recomputed, logits of a model whose weights are larger than a trained one's
P_VALUE = 1e-3  # one honest test in a thousand strays further; seeds are fixed
VARIANTS = [{}, dict(qk_norm=True), dict(qkv_bias=True), dict(rope_interleaved=True), dict(tied=True), dict(attention="naive"),
            dict(attention="sliding_window", window=5), dict(n_kv_head=4), dict(n_kv_head=1, head_dim=16)]
GREEDY = SamplingConfig(14, temperature=0)
ALL_ON = SamplingConfig(14, temperature=0.8, top_k=30, top_p=0.95, min_p=0.01, repetition_penalty=1.2, seed=3)
PROMPTS = [[1, 2, 3], [4, 5, 6, 7, 8, 9, 10], [11]]
BYTES = Tokenizer([bytes([b]) for b in BYTE_ORDER], [], {})  # a token for each byte


def tiny(seed=0, **changes):
    "A model whose logits differ enough to have opinions."
    torch.manual_seed(seed)
    shape = dict(vocab_size=50, max_seq_len=24, n_layer=3, n_head=4, n_kv_head=2, n_embd=32, intermediate_size=64, tied=False)
    model = MiniGPT(GPTConfig(**shape | changes)).eval()
    for p in model.parameters(): p.data = 5*p.data if p.dim() == 2 else p.data + 0.1*torch.randn_like(p)
    return model


def llama(model):
    "transformers' Llama with the same weights."
    transformers = pytest.importorskip("transformers")
    c = model.config
    theirs = transformers.LlamaForCausalLM(transformers.LlamaConfig(
        vocab_size=c.vocab_size, hidden_size=c.n_embd, intermediate_size=c.intermediate_size, num_hidden_layers=c.n_layer,
        num_attention_heads=c.n_head, num_key_value_heads=c.n_kv_head, max_position_embeddings=c.max_seq_len, rms_norm_eps=c.norm_eps,
        rope_theta=c.rope_theta, tie_word_embeddings=c.tied, bos_token_id=None, eos_token_id=None)).eval()
    table = {"blocks.": "layers.", "attn_norm": "input_layernorm", "mlp_norm": "post_attention_layernorm", ".attn.": ".self_attn.", "embed.": "embed_tokens."}
    def named(name):
        for ours, other in table.items(): name = name.replace(ours, other)
        return name if name.startswith("lm_head") else f"model.{name}"
    theirs.load_state_dict({named(name): p for name, p in model.state_dict().items()})
    return theirs


def p_value(counts, expected):
    "Of Pearson's chi-square; outcomes expected fewer than five times count as one."
    counts, expected = torch.as_tensor(counts).double(), torch.as_tensor(expected).double()
    rare = expected < 5
    if rare.any(): counts, expected = (torch.cat([t[~rare], t[rare].sum()[None]]) for t in (counts, expected))
    counts, expected = counts[expected > 0], expected[expected > 0]
    statistic = ((counts - expected)**2/expected).sum()
    return torch.special.gammaincc(torch.tensor((len(counts) - 1)/2, dtype=torch.float64), statistic/2).item()


def alone(model, config, slide=False):
    return [generate(model, [row], replace(config, seed=config.seed + b), slide=slide)[0] for b, row in enumerate(PROMPTS)]


@pytest.mark.parametrize("changes", VARIANTS, ids=str)
@pytest.mark.parametrize("config", [GREEDY, ALL_ON], ids=["greedy", "all on"])
def test_every_mode_says_the_same(changes, config):
    "Cached, recomputed, batched with other lengths, alone, and through the fast decoder: the same tokens."
    model = tiny(**changes)
    fast = fast_decoder(model, compile=False)
    expected = generate(model, PROMPTS, config, cached=False)
    assert generate(model, PROMPTS, config) == alone(model, config) == expected
    assert generate(fast, PROMPTS, config) == alone(fast, config) == expected


@pytest.mark.parametrize("changes", [{}, dict(attention="sliding_window", window=5), dict(max_seq_len=7), dict(max_seq_len=1)], ids=str)
def test_a_sliding_context_says_the_same(changes):
    "A context that fills several times, in rows of different lengths: cached, recomputed, alone and fast agree."
    model, config = tiny(**changes), replace(ALL_ON, max_new_tokens=60)
    expected = generate(model, PROMPTS, config, slide=True, cached=False)
    assert generate(model, PROMPTS, config, slide=True) == alone(model, config, slide=True) == expected
    assert generate(fast_decoder(model, compile=False), PROMPTS, config, slide=True) == expected
    assert all(len(row) == 60 for row in expected)


def test_sliding_keeps_the_younger_half():
    "By hand: what is read after the context of 24 is full is its last 12 tokens."
    model, text = tiny(), [7]
    for _ in range(40):
        read = text
        if len(text) > 24:
            keep = 12 + (len(text) - 25) % 13  # 25 tokens become 12, grow to 25, become 12 ...
            read = text[-keep:]
        with torch.no_grad(): text = text + [model(torch.tensor([read]))[0, -1].argmax().item()]
    assert generate(model, [7], SamplingConfig(40, temperature=0), slide=True) == [text[1:]]


def test_cached_logits(capsys):
    "The cache's logits are the recomputed ones, up to rounding, for any cut into prefill and decode."
    model, idx, worst = tiny(), torch.randint(50, (2, 24), generator=torch.Generator().manual_seed(0)), 0
    with torch.no_grad():
        whole = model(idx)
        for cut in (1, 5, 23):
            cache = KVCache(model.config, 2)
            parts = [model(idx[:, :cut], cache=cache)] + [model(idx[:, t:t + 1], cache=cache) for t in range(cut, 24)]
            worst = max(worst, (torch.cat(parts, 1) - whole).abs().max().item())
            assert cache.length == 24
    with capsys.disabled(): print(f"\ncached beside recomputed logits: {worst:.1e} (tolerance {LOGITS})")
    assert worst < LOGITS


@pytest.mark.parametrize("plant", ["positions", "blanks"])
def test_a_padded_batch_done_wrong_is_caught(plant, monkeypatch):
    "Planted: a new token at the batch's position instead of its row's own, or blanks that may be looked at, gives other tokens than alone."
    model = tiny()
    forward, expected = model.forward, alone(model, GREEDY)
    def wrong(idx, positions=None, mask=None, cache=None):
        return forward(idx, None if plant == "positions" and idx.shape[1] == 1 else positions, None if plant == "blanks" else mask, cache)
    monkeypatch.setattr(model, "forward", wrong)
    assert generate(model, PROMPTS, GREEDY) != expected


def test_a_cache_that_forgets_is_caught(monkeypatch):
    "Planted: a cache whose last position is never moved on gives other tokens."
    class Stuck(KVCache):
        def update(self, layer, k, v):
            out = super().update(layer, k, v)
            if layer == len(self.k) - 1 and k.shape[2] == 1: self.length -= 1
            return out
    model = tiny()
    expected = generate(model, PROMPTS, GREEDY)
    monkeypatch.setattr(module, "KVCache", Stuck)
    assert generate(model, PROMPTS[:1], GREEDY)[0] != expected[0]


def test_a_full_cache_says_so():
    "One position too many is refused with both numbers."
    cache = KVCache(tiny().config, 1, 4)
    with pytest.raises(ValueError, match="5 positions do not fit the cache of 4"): cache.update(0, *torch.zeros(2, 1, 2, 5, 8))


def test_cache_is_taken_once():
    "What update returns are views of the same memory, as long as the cache lives."
    cache = KVCache(tiny().config, 1, 4)
    where = cache.k.data_ptr(), cache.v.data_ptr()
    for t in range(4):
        for layer in range(3): k, v = cache.update(layer, *torch.randn(2, 1, 2, 1, 8))
    assert k.shape[2] == cache.length == 4 and (cache.k.data_ptr(), cache.v.data_ptr()) == where
    assert k.data_ptr() == cache.k[2].data_ptr()


def test_nanogpt_needs_no_cache():
    "A model that takes no cache is decoded without, and says what week 1's loop says."
    torch.manual_seed(0)
    model = nanogpt.NanoGPT(nanogpt.NanoGPTConfig(vocab_size=11, max_seq_len=32, n_layer=2, n_head=2, n_embd=16))
    theirs = nanogpt.generate(model, torch.tensor([[1, 2, 3]]), 12, temperature=0)[0, 3:].tolist()
    assert generate(model, torch.tensor([[1, 2, 3]]), SamplingConfig(12, temperature=0)) == [theirs]


def test_training_mode_is_given_back():
    "Dropout is off while decoding, and a model in training is in training afterwards, also when the text stops early."
    model = tiny(dropout=0.5).train()
    first = generate(model, PROMPTS, GREEDY)
    assert model.training and first == generate(model, PROMPTS, GREEDY)
    generate(model, [PROMPTS[0]], GREEDY, stop_ids=[first[0][1]])
    beam_search(model, PROMPTS[0], 2, 3), speculative(model, model, PROMPTS[0], GREEDY)
    assert model.training


# ---- transformers ----------------------------------------------------------------------------------------------

RULES = [("TemperatureLogitsWarper", 0.7, apply_temperature), ("TopKLogitsWarper", 1, top_k_filter), ("TopKLogitsWarper", 50, top_k_filter),
         ("TopKLogitsWarper", 999, top_k_filter), ("TopPLogitsWarper", 0.9, top_p_filter), ("TopPLogitsWarper", 0.01, top_p_filter),
         ("MinPLogitsWarper", 0.1, min_p_filter), ("MinPLogitsWarper", 0.9, min_p_filter)]


@pytest.mark.parametrize("name, value, ours", RULES)
def test_rules_are_transformers(name, value, ours):
    "Each filter equals transformers' class to the bit, ties and flat rows included."
    transformers = pytest.importorskip("transformers")
    z = 3*torch.randn(64, 640, generator=torch.Generator().manual_seed(0))
    z[32:48], z[48:] = z[32:48].round(), 0.0
    assert torch.equal(ours(z, value), getattr(transformers, name)(value)(None, z))


def test_penalty_is_transformers():
    "The repetition penalty equals transformers' to the bit, above 1 and below."
    transformers = pytest.importorskip("transformers")
    draw_ = torch.Generator().manual_seed(0)
    z, said = 3*torch.randn(8, 100, generator=draw_), torch.randint(100, (8, 40), generator=draw_)
    for penalty in (1.3, 0.7):
        assert torch.equal(repetition_penalty(z, said.tolist(), penalty), transformers.RepetitionPenaltyLogitsProcessor(penalty)(said, z))


def test_order_of_rules_is_transformers():
    "All switches together give the distribution that transformers' generate makes of the same settings."
    transformers = pytest.importorskip("transformers")
    z, said = 3*torch.randn(8, 100, generator=torch.Generator().manual_seed(0)), torch.arange(80).view(8, 10)
    config = transformers.GenerationConfig(do_sample=True, temperature=0.8, top_k=30, top_p=0.95, min_p=0.01, repetition_penalty=1.2)
    chain = llama(tiny())._get_logits_processor(config, input_ids_seq_length=10, device="cpu")
    assert torch.equal(process_logits(z, ALL_ON, said.tolist()), chain(said, z))


def test_greedy_is_transformers():
    "With the same weights, transformers' generate says the same greedily, with and without the penalty."
    model, idx = tiny(max_seq_len=64), torch.tensor([[5, 6, 7]])
    theirs = llama(model)
    for penalty in (1.0, 1.3):
        said = theirs.generate(idx, attention_mask=torch.ones_like(idx), max_new_tokens=40, do_sample=False, repetition_penalty=penalty, pad_token_id=0)
        assert generate(model, idx, SamplingConfig(40, temperature=0, repetition_penalty=penalty)) == said[:, 3:].tolist()


def test_beams_are_transformers():
    "Beam search finds transformers' texts with transformers' scores."
    model, idx = tiny(max_seq_len=64), torch.tensor([[5, 6, 7]])
    theirs = llama(model).generate(idx, attention_mask=torch.ones_like(idx), max_new_tokens=12, num_beams=5, num_return_sequences=5, do_sample=False,
                                   length_penalty=0.0, pad_token_id=0, output_scores=True, return_dict_in_generate=True)
    ours = beam_search(model, [5, 6, 7], 5, 12)
    assert [new for new, _ in ours] == theirs.sequences[:, 3:].tolist()
    assert torch.allclose(torch.tensor([s for _, s in ours]), theirs.sequences_scores, atol=1e-4)


# ---- choosing --------------------------------------------------------------------------------------------------

def test_draws_follow_the_probabilities():
    "Twenty thousand draws pass a chi-square test; a token of probability 0 never comes; a skewed count fails the test."
    p = torch.tensor([0.0, 0.1, 0.2, 0.0, 0.3, 0.4, 0.0])
    drawn = draw(p.expand(20_000, 7), [torch.Generator().manual_seed(0)]*20_000).bincount(minlength=7)
    assert drawn[p == 0].sum() == 0 and p_value(drawn[p > 0], 20_000*p[p > 0]) > P_VALUE
    wrong = torch.tensor([0.1, 0.2, 0.32, 0.38])
    assert p_value(drawn[p > 0], 20_000*wrong) < P_VALUE


def test_first_tokens_follow_the_model():
    "The first token of many seeds is distributed as the processed softmax says."
    model, config, n = tiny(vocab_size=8), SamplingConfig(1, temperature=1.5, top_p=0.9), 4000
    with torch.no_grad(): p = process_logits(model(torch.tensor([[1, 2]]))[:, -1], config, [[1, 2]]).softmax(-1)[0]
    counts = torch.tensor(generate(model, [[1, 2]]*n, config))[:, 0].bincount(minlength=8)
    assert counts[p == 0].sum() == 0 and p_value(counts[p > 0], n*p[p > 0]) > P_VALUE


def test_seeds():
    "The same seed gives the same text, another seed another, and row b has the text of seed + b."
    model = tiny()
    config = replace(ALL_ON, temperature=2.0)
    one, two = generate(model, [[1]], config), generate(model, [[1]], replace(config, seed=4))
    assert one == generate(model, [[1]], config) != two
    assert generate(model, [[1], [1]], config) == one + two


def test_filters_leave_the_likeliest():
    "However strict, no rule empties a row, and the input is left alone."
    z = torch.randn(16, 9, generator=torch.Generator().manual_seed(0))
    before = z.clone()
    for out in (top_k_filter(z, 1), top_p_filter(z, 1e-9), min_p_filter(z, 0.999), apply_temperature(z, 0), repetition_penalty(z, [[0, 1]]*16, 9.0)):
        assert torch.equal(out.isfinite().any(-1), torch.ones(16, dtype=torch.bool))
    assert torch.equal(z, before)
    assert all(torch.equal(f.argmax(-1), z.argmax(-1)) for f in (top_k_filter(z, 1), top_p_filter(z, 1e-9), min_p_filter(z, 0.999)))


def test_weights_that_are_not_finite_are_named():
    "A model that has diverged is told so instead of an index error."
    model = tiny()
    model.norm.weight.data.fill_(torch.nan)
    with pytest.raises(ValueError, match="probabilities are not finite"): generate(model, [[1]], ALL_ON)


# ---- stopping and streaming ------------------------------------------------------------------------------------

def cut(text, stop):
    "Where the stop string that is complete first begins."
    ends = [(text.find(s) + len(s), text.find(s)) for s in stop if s in text]
    return text[:min(ends)[1]] if ends else text


@settings(deadline=None, derandomize=True, max_examples=150)
@given(st.binary(max_size=24))
def test_a_stream_of_any_bytes_is_the_text(data):
    "Byte by byte, the pieces joined are what decoding at once gives, whole characters or not."
    text = TextStream(BYTES)
    pieces = [text.push(i) for i in BYTES.encode(data)]
    assert "".join(pieces) + text.finish() == data.decode("utf-8", "replace")


@settings(deadline=None, derandomize=True, max_examples=150)
@given(st.text("aé€🙂", max_size=12), st.lists(st.integers(1, 4), min_size=12, max_size=48))
def test_no_piece_holds_half_a_character(text, sizes):
    "Valid text cut anywhere, also inside characters, comes out in valid pieces."
    data, vocab, at = text.encode(), [], 0
    while at < len(data): vocab.append(data[at:at + sizes[len(vocab) % len(sizes)]]); at += len(vocab[-1])
    planted = type("Planted", (), {"decode_bytes": lambda self, ids: b"".join(vocab[i] for i in ids)})()
    shown = TextStream(planted)
    pieces = [shown.push(i) for i in range(len(vocab))] + [shown.finish()]
    assert "".join(pieces) == text and "\ufffd" not in "".join(pieces)


@settings(deadline=None, derandomize=True, max_examples=300)
@given(st.text("abc", max_size=14), st.lists(st.text("abc", min_size=1, max_size=4), max_size=3), st.lists(st.integers(1, 5), min_size=1, max_size=6))
def test_stop_strings_across_token_borders(text, stop, sizes):
    "However the tokens fall, the text ends before the stop string that is complete first, and nothing of it was shown."
    vocab, at = [], 0
    while at < len(text): vocab.append(text[at:at + sizes[len(vocab) % len(sizes)]].encode()); at += len(vocab[-1])
    planted = type("Planted", (), {"decode_bytes": lambda self, ids: b"".join(vocab[i] for i in ids)})()
    shown = TextStream(planted, stop)
    assert "".join([shown.push(i) for i in range(len(vocab))] + [shown.finish()]) == cut(text, stop)
    assert shown.stopped == any(s in text for s in stop)


def test_what_cannot_begin_a_stop_is_shown_at_once():
    "Only an end that could begin a stop string is held back."
    text = TextStream(BYTES, ["\n\n", "User:"])
    assert [text.push(i) for i in BYTES.encode("a\nbUs!\n\n")] == ["a", "", "\nb", "", "", "Us!", "", ""] and text.stopped


@pytest.fixture(scope="module")
def speaker():
    "A tokenizer and a model of its size."
    tokenizer = train_bpe(["to be or not to be, that is the question: naïve café €5"], 280, ["<|endoftext|>"])
    return tokenizer, tiny(vocab_size=len(tokenizer), max_seq_len=96)


@pytest.mark.parametrize("seed", range(4))
def test_stream_and_generate_agree(speaker, seed):
    "The pieces of a stream are valid text, and joined they are generate's ids decoded and cut at the stop."
    tokenizer, model = speaker
    config = SamplingConfig(40, temperature=1.5, seed=seed, stop=["e", "no"])
    (ids,) = generate(model, [tokenizer.encode("to be")], config, [0], tokenizer)
    text = tokenizer.decode(ids[:-1] if ids[-1] == 0 else ids)
    assert "".join(stream(model, tokenizer, tokenizer.encode("to be"), config, [0])) == cut(text, config.stop)
    assert not any(s.encode() in tokenizer.decode_bytes(ids[:-1]) for s in config.stop), "it went on after the stop"


def test_stop_ids_end_a_row_and_no_other():
    "A stop id ends its row, itself included; the other rows go on as they would."
    model = tiny()
    free = generate(model, PROMPTS, GREEDY)
    stop = free[0][4]
    for row, whole in zip(generate(model, PROMPTS, GREEDY, stop_ids=[stop]), free):
        assert row == (whole[:whole.index(stop) + 1] if stop in whole else whole)


# ---- beams and drafts ------------------------------------------------------------------------------------------

def test_enough_beams_find_the_likeliest_text():
    "With as many beams as beginnings, beam search is exhaustive search."
    model, prompt = tiny(vocab_size=5), [1, 2]
    texts = torch.tensor(list(product(range(5), repeat=4)))
    with torch.no_grad(): logp = model(torch.cat([torch.tensor([prompt]).expand(len(texts), 2), texts], 1)).log_softmax(-1)
    scores = sum(logp[torch.arange(len(texts)), 1 + t, texts[:, t]] for t in range(4))
    (best, score), *_ = beam_search(model, prompt, 125, 4)
    assert best == texts[scores.argmax()].tolist() and abs(score - scores.max().item()) < 1e-4


def test_one_beam_is_greedy_and_more_are_likelier():
    "One beam is greedy decoding; scores come best first and are sums of log-probabilities; a stop id ends a text."
    model = tiny()
    assert beam_search(model, [1, 2, 3], 1, 14)[0][0] == generate(model, [[1, 2, 3]], GREEDY)[0]
    found = beam_search(model, [1, 2, 3], 6, 8, stop_ids=[3, 7])
    assert [s for _, s in found] == sorted((s for _, s in found), reverse=True)
    for new, score in found:
        assert not {3, 7} & set(new[:-1]) and (len(new) == 8 or new[-1] in (3, 7))
        with torch.no_grad(): logp = model(torch.tensor([[1, 2, 3] + new]))[0, 2:-1].log_softmax(-1)
        assert abs(sum(logp[i, t].item() for i, t in enumerate(new)) - score) < 1e-4


@pytest.mark.parametrize("n_draft", [1, 3, 8])
def test_greedy_speculation_is_greedy(n_draft):
    "At temperature 0, with the penalty too, the model's own greedy text comes out, whatever the draft."
    model = tiny()
    for config in (GREEDY, replace(GREEDY, repetition_penalty=1.5)):
        for draft in (tiny(seed=1, n_layer=1), model):
            assert speculative(model, draft, [1, 2, 3], config, n_draft)[0] == generate(model, [[1, 2, 3]], config)[0]
    assert speculative(model, model, [1, 2, 3], ALL_ON, n_draft)[1] == 1.0
    stop = generate(model, [[1, 2, 3]], GREEDY)[0][5]
    new, _ = speculative(model, model, [1, 2, 3], GREEDY, n_draft, stop_ids=[stop])
    assert new == generate(model, [[1, 2, 3]], GREEDY, stop_ids=[stop])[0]


def exact(model, prompt, config, n):
    "{text of n tokens: its probability} under the model and the switches."
    texts = {(): 1.0}
    for _ in range(n):
        grown = {}
        for text, p in texts.items():
            with torch.no_grad(): z = model(torch.tensor([[*prompt, *text]]))[:, -1]
            for token, q in enumerate(process_logits(z, config, [[*prompt, *text]]).double().softmax(-1)[0].tolist()): grown[(*text, token)] = p*q
        texts = grown
    return texts


@pytest.mark.parametrize("config", [SamplingConfig(3), SamplingConfig(3, temperature=0.8, top_p=0.9, repetition_penalty=1.3)], ids=["plain", "switches"])
def test_speculation_keeps_the_distribution(config):
    "A thousand three-token texts, guessed by a model that disagrees, are distributed as the exact probabilities say (chi-square)."
    model, draft, n = tiny(vocab_size=4, n_layer=1), tiny(seed=5, vocab_size=4, n_layer=1), 1000
    texts = exact(model, [1, 2], config, 3)
    runs = [speculative(model, draft, [1, 2], replace(config, seed=s), n_draft=2) for s in range(n)]
    counts = {text: 0 for text in texts}
    for new, _ in runs: counts[tuple(new)] += 1
    assert all(texts[text] > 0 for text, c in counts.items() if c)
    assert 0.1 < sum(share for _, share in runs)/n < 0.95, "the draft agrees or disagrees too much to test anything"
    assert p_value(list(counts.values()), [n*p for p in texts.values()]) > P_VALUE


def test_a_wrong_rule_is_caught():
    "Planted: keeping every guess, or drawing anew from p instead of from what is left, fails the same chi-square."
    p, q, n = torch.tensor([[0.1, 0.2, 0.3, 0.4]]*2), torch.tensor([[0.7, 0.1, 0.1, 0.1]]), 3000
    def fresh(guesses, p, q, generator):
        token, = guesses
        if torch.rand((), generator=generator) < p[0, token]/q[0, token]: return guesses
        return draw(p[:1], [generator]).tolist()
    for rule, right in ((accept, True), (lambda g, *_: g, False), (fresh, False)):
        generator = torch.Generator().manual_seed(0)
        firsts = torch.tensor([rule(draw(q, [generator]).tolist(), p, q, generator)[0] for _ in range(n)]).bincount(minlength=4)
        assert (p_value(firsts, n*p[0]) > P_VALUE) == right


# ---- the fast decoder ------------------------------------------------------------------------------------------

def test_fast_logits():
    "Step by step the fast decoder's logits are the model's, and its cache ends in the same place."
    for changes in VARIANTS:
        model, idx = tiny(**changes), torch.tensor([[1, 2, 3, 4, 5, 6, 7, 8], [8, 7, 6, 5, 4, 3, 2, 1]])
        fast, cache = fast_decoder(model, compile=False), KVCache(model.config, 2)
        with torch.no_grad():
            parts = [fast(idx[:, :3], cache=cache)] + [fast(idx[:, t:t + 1], cache=cache) for t in range(3, 8)]
            assert (torch.cat(parts, 1) - model(idx)).abs().max() < LOGITS and cache.length == 8, changes


def test_fast_in_bf16():
    "In 16 bits the fast decoder stays as near to the model as 16 bits allow."
    model = tiny().to(torch.bfloat16)
    fast, cache, idx = fast_decoder(model, compile=False), KVCache(model.config, 1, dtype=torch.bfloat16), torch.tensor([[1, 2, 3, 4]])
    with torch.no_grad():
        parts = torch.cat([fast(idx[:, t:t + 1], cache=cache) for t in range(4)], 1)
        assert parts.dtype == torch.bfloat16 and (parts - model(idx)).abs().max() < 0.05*model(idx).abs().max()
    assert len(generate(fast, [[1, 2]], GREEDY)[0]) == 14


def test_unknown_attention_has_no_fast_path(monkeypatch):
    "An attention of somebody's own is refused by name."
    monkeypatch.setitem(ATTENTION, "mine", ATTENTION["naive"])
    with pytest.raises(ValueError, match="attention .'mine'. has no fast path"): fast_decoder(tiny(attention="mine"))


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{}, dict(qkv_bias=True, qk_norm=True, tied=True), dict(attention="sliding_window", window=5)], ids=str)
def test_compiled_is_the_same(changes):
    "Compiled, alone and in a batch, sliding or not, the fast decoder says the same tokens."
    model = tiny(**changes)
    fast = fast_decoder(model)
    for config, slide in ((GREEDY, False), (replace(ALL_ON, max_new_tokens=40), True)):
        assert generate(fast, PROMPTS, config, slide=slide) == generate(model, PROMPTS, config, slide=slide)
        assert generate(fast, [PROMPTS[0]], config, slide=slide) == generate(model, [PROMPTS[0]], config, slide=slide)


@pytest.mark.slow
def test_without_a_compiler_it_says_so_once(tmp_path):
    "Without a C++ compiler it runs eager, with one warning, and says the same."
    code = ("import torch, warnings; from minillm.minigpt import *; from minillm.generate import *\n"
            "m = MiniGPT(GPTConfig(vocab_size=20, n_layer=1)); f, c = fast_decoder(m), SamplingConfig(6, temperature=0)\n"
            "with warnings.catch_warnings(record=True) as w:\n    warnings.simplefilter('always')\n"
            "    same = generate(f, [[1]], c) == generate(m, [[1]], c) == generate(f, [[1]], c)\n"
            "print(same, [str(x.message) for x in w if 'fast_decoder' in str(x.message)].__len__())")
    env = os.environ | dict(CXX=str(tmp_path / "none"), TORCHINDUCTOR_CACHE_DIR=str(tmp_path), OMP_NUM_THREADS="1")
    assert subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True).stdout == "True 1\n"


# ---- bad input -------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("change, words", [
    (dict(temperature=-0.1), "temperature (-0.1) must be 0 (the likeliest token) or more"), (dict(temperature=math.nan), "temperature (nan) must be"),
    (dict(top_p=0), "top_p (0) must lie in (0, 1]"), (dict(top_p=1.2), "top_p (1.2) must lie in (0, 1]"), (dict(top_k=0), "top_k (0) must be at least 1"),
    (dict(min_p=1), "min_p (1) must lie in [0, 1)"), (dict(repetition_penalty=0), "repetition_penalty (0) must be positive"),
    (dict(max_new_tokens=0), "max_new_tokens (0) must be at least 1"), (dict(seed=-1), "seed (-1) must lie between 0"),
    (dict(stop=[""]), "stop (('',)) must hold texts, none of them empty"), (dict(stop=["a", 3]), "ids go into stop_ids")])
def test_impossible_settings(change, words):
    "An impossible setting is refused with the name, the value and the rule, in one line."
    with pytest.raises(ValueError) as e: SamplingConfig(**change)
    assert words in str(e.value) and "\n" not in str(e.value)


@pytest.mark.parametrize("idx, more, words", [
    ([[]], {}, "prompt 0 is empty"), ([], {}, "prompt 0 is empty"), ([[1], []], {}, "prompt 1 is empty"),
    ([[1]*25], {}, "prompt 0 (25 tokens) exceeds the context (24); cut it, or slide=True"),
    ([[1]*20], dict(config=SamplingConfig(6)), "max_new_tokens (6) must be at most 5: prompt 0 has 20 of 24 positions; or slide=True"),
    ([[1, 50]], {}, "prompt 0 holds the id 50, the model's go from 0 to 49"), ([[-1]], {}, "prompt 0 holds the id -1"),
    ([[1]], dict(stop_ids=[50]), "stop id (50) must lie between 0 and 49"), ([[1]], dict(stop_ids=["x"]), "stop id ('x') must lie"),
    ([[1]], dict(config=SamplingConfig(6, stop=["x"])), "stop ('x') is text; pass the tokenizer")])
def test_impossible_prompts_and_stops(idx, more, words):
    "What cannot be continued is refused in one line that says why."
    with pytest.raises(ValueError) as e: generate(tiny(), idx, **dict(config=SamplingConfig(4)) | more)
    assert words in str(e.value) and "\n" not in str(e.value)


def test_the_last_position_can_be_used():
    "A context of 24 takes 20 tokens and 5 more, the last of which is never read; a full prompt gets one."
    model = tiny()
    assert len(generate(model, [[1]*20], SamplingConfig(5))[0]) == 5 and len(generate(model, [[1]*24], SamplingConfig(1))[0]) == 1


def test_others_refuse_too():
    "stream refuses before the first piece is asked for; beams and drafts have their own rules."
    model = tiny()
    with pytest.raises(ValueError, match="prompt 0 is empty"): stream(model, BYTES, [])
    with pytest.raises(ValueError, match="n_beams .0. must be at least 1"): beam_search(model, [1], 0)
    with pytest.raises(ValueError, match="draft knows 40 tokens, the model 50"): speculative(model, tiny(vocab_size=40), [1])


def test_steps_can_be_taken_one_at_a_time():
    "decode_steps is lazy: each step is computed when it is asked for."
    model, calls = tiny(), []
    model.register_forward_hook(lambda *_: calls.append(1))
    steps = decode_steps(model, [[1, 2]], GREEDY)
    next(steps), next(steps)
    assert len(calls) == 2
