"""LoRA and DoRA beside the weights of models of every kind: nothing changes at first, only the matrices move, merging is exact."""

from __future__ import annotations

import copy
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import open_clip
import pytest
import timm
import torch
from modelgraft.errors import UsageError
from modelgraft.training import Block
from modelgraft_adapters.finetuning.lora import LowRank, inject
from modelgraft_adapters.finetuning.model import Grafted, Seal
from modelgraft_adapters.finetuning.parameter_groups import make_plan
from modelgraft_adapters.finetuning.settings import Settings
from peft import LoraConfig, get_peft_model
from peft.tuners.lora import LoraLayer
from sentence_transformers import SentenceTransformer
from torch import nn
from transformers import GPT2Config, GPT2Model

from tests.sentence_transformers.conftest import minilm_folder

RANK = 4
KINDS = ("lora", "dora")


@dataclass
class Case:
    """A model in eval mode, the blocks of what is adapted, and its embeddings of two inputs."""

    module: nn.Module
    blocks: tuple[Block, ...]
    run: Callable[[nn.Module], torch.Tensor]

    def inject(self, kind: Any = "lora", rank: int = RANK, dropout: float = 0.0, seed: int = 0) -> LowRank:
        return inject(self.module, self.blocks, kind=kind, rank=rank, alpha=2.0 * rank, dropout=dropout, seed=seed)

    @torch.no_grad()
    def out(self) -> torch.Tensor:
        return self.run(self.module)


def by_number(module: nn.Module, inside: str = "", outside: str = "\n") -> tuple[Block, ...]:
    """A block for each numbered child, of the parameters whose name begins with ``inside`` and not with ``outside``."""
    groups: dict[str, list[str]] = {}
    for name, _ in module.named_parameters():
        if name.startswith(inside) and not re.match(outside, name):
            found = re.match(r"(.*?\.\d+)\.", name)
            groups.setdefault(found[1] if found else "stem", []).append(name)
    return tuple(Block(name, tuple(parameters)) for name, parameters in groups.items())


def picture(name: str, size: int, outside: str, **options: Any) -> Case:
    model = timm.create_model(name, num_classes=3, **options).eval()
    pixels = torch.randn(2, 3, size, size)
    run: Callable[[Any], torch.Tensor] = lambda m: m.forward_head(m.forward_features(pixels), pre_logits=True)  # noqa: E731
    return Case(model, by_number(model, outside=outside), run)


def clip(modality: str, layers: Any, size: int) -> Case:
    vision = open_clip.CLIPVisionCfg(layers=layers, width=64, head_width=32, patch_size=8, image_size=size)
    text = open_clip.CLIPTextCfg(layers=2, width=64, heads=2, context_length=8, vocab_size=50)
    model = open_clip.CLIP(32, vision, text).eval()
    if modality == "text":
        tokens = torch.randint(1, 50, (2, 8))
        return Case(model, by_number(model, outside=r"visual\.|logit_scale"), lambda m: m.encode_text(tokens))
    pixels = torch.randn(2, 3, size, size)
    return Case(model, by_number(model, inside="visual."), lambda m: m.encode_image(pixels))


def minilm() -> Case:
    model = SentenceTransformer(str(minilm_folder()), device="cpu", local_files_only=True).eval()
    batch = model.tokenize(["a cat on a mat", "the stock market fell"])
    return Case(model, by_number(model, outside=r".*pooler\."), lambda m: m(dict(batch))["sentence_embedding"])


def gpt2() -> Case:
    config = GPT2Config(n_embd=32, n_layer=2, n_head=2, vocab_size=60, bos_token_id=0, eos_token_id=0)
    model, tokens = GPT2Model(config).eval(), torch.randint(0, 60, (2, 7))
    return Case(model, by_number(model), lambda m: m(tokens).last_hidden_state)


def torch_encoder() -> Case:
    layer = nn.TransformerEncoderLayer(32, 2, 64, batch_first=True, dropout=0.0)
    model, states = nn.Sequential(nn.TransformerEncoder(layer, 2)).eval(), torch.randn(2, 5, 32)
    return Case(model, by_number(model), lambda m: m(states))


SMALL = {"depths": (1, 1), "num_heads": (2, 2), "embed_dim": 24}
MAKE: dict[str, Callable[[], Case]] = {
    "vit": lambda: picture("vit_tiny_patch16_224", 32, r"head\.", img_size=32, depth=2),
    "resnet": lambda: picture("resnet18", 64, r"fc\."),
    "convnext": lambda: picture("convnext_atto", 64, r"head\.fc\."),
    "mobilenet": lambda: picture("mobilenetv2_050", 64, r"classifier\."),
    "swin": lambda: picture("swin_tiny_patch4_window7_224", 56, r"head\.fc\.", img_size=56, window_size=7, **SMALL),
    # qkv.weight is read, its forward is not called
    "swinv2": lambda: picture("swinv2_tiny_window8_256", 64, r"head\.fc\.", img_size=64, window_size=4, **SMALL),
    "clip image": lambda: clip("image", 2, 16),
    "clip text": lambda: clip("text", 2, 16),
    "clip resnet": lambda: clip("image", [1, 1, 1, 1], 64),
    "minilm": minilm,
    "gpt2": gpt2,
    "torch": torch_encoder,
}
READ = {"swinv2": ".qkv", "clip resnet": "visual.attnpool.", "torch": ".linear1"}  # torch: without gradients
"""Models with layers whose weight is read and whose forward is not called, and where."""


def make(name: str) -> Case:
    torch.manual_seed(0)
    case = MAKE[name]()
    with torch.no_grad():
        for parameter in case.module.parameters():
            if parameter.ndim < 2 and name != "minilm":
                parameter += 0.05 * torch.randn_like(parameter)  # no bias is zero, no norm one
    return case


def matrices(case: Case, low: LowRank) -> dict[str, nn.Parameter]:
    names = {name for block in low.blocks for name in block.parameters}
    return {name: value for name, value in case.module.named_parameters() if name in names}


def disturb(case: Case, low: LowRank) -> None:
    """As training would, and more."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, value in matrices(case, low).items():
            noise = torch.randn(value.shape, generator=generator)
            if "lora_B" in name:
                value += 0.02 * noise
            if "magnitude" in name:
                value *= 1 + 0.1 * noise


def structure(module: nn.Module) -> Any:
    return (
        [(name, type(inner), inner.training) for name, inner in module.named_modules()],
        [(name, id(value)) for name, value in module.named_parameters()],
        list(module.state_dict()),
        set(vars(module)),
    )


@pytest.mark.full
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", MAKE)
def test_at_first_outputs_are_those_of_before_to_the_bit(name: str, kind: str) -> None:
    case = make(name)
    before = case.run(case.module)
    case.inject(kind)
    # torch chooses kernels by what requires gradients, which rounds differently: here everything does, as it did before
    case.module.requires_grad_(True)
    assert torch.equal(case.run(case.module), before)


@pytest.mark.full
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", MAKE)
def test_only_the_matrices_are_trained_and_merging_keeps_the_outputs(name: str, kind: str) -> None:
    case = make(name)
    before, built = case.out(), structure(case.module)
    total = sum(value.numel() for value in case.module.parameters())
    low = case.inject(kind)
    disturb(case, low)
    trained = matrices(case, low)
    assert {n for n, value in case.module.named_parameters() if value.requires_grad} == set(trained)
    assert sum(value.numel() for value in trained.values()) < 0.25 * total
    others = {
        n: value.detach().clone()
        for n, value in (*case.module.named_parameters(), *case.module.named_buffers())
        if n not in trained
    }
    first = {n: value.detach().clone() for n, value in trained.items()}
    (case.run(case.module) * torch.randn_like(before)).sum().backward()
    assert all(value.grad is not None and bool(value.grad.any()) for value in trained.values())
    torch.optim.Adam(trained.values(), lr=1e-3).step()
    now = dict((*case.module.named_parameters(), *case.module.named_buffers()))
    assert all(torch.equal(now[n], value) for n, value in others.items())
    assert not any(torch.equal(trained[n], value) for n, value in first.items())
    apart = case.out()
    low.merge(case.module)
    scale = max(1.0, float(apart.abs().max()))
    assert float((case.out() - apart).abs().max()) <= 5e-6 * scale
    assert float((apart - before).abs().max()) > 1e-3 * float(before.abs().max())  # the matrices do something
    assert structure(case.module) == built


# peft has no DoRA for torch's attention, and does nothing where the weight is read
@pytest.mark.filterwarnings("ignore:fan_in_fan_out")  # peft sets it right itself
@pytest.mark.full
@pytest.mark.parametrize(
    ("name", "kind"), [(n, k) for n in MAKE for k in KINDS if n not in READ and not (k == "dora" and "clip" in n)]
)
def test_peft_alone_gives_the_same(name: str, kind: str) -> None:
    """The oracle: peft's usual way on the same layers, with the same matrices: numbers of parameters, outputs, merged weights."""
    case = make(name)
    attention = any(isinstance(m, nn.MultiheadAttention) for m in case.module.modules())
    plain = copy.deepcopy(case.module)
    low = case.inject(kind)
    disturb(case, low)
    ours = matrices(case, low)
    layers = {n.removesuffix(".in_proj_weight").removesuffix(".weight") for n in low.base_names}
    layers = {n for n in layers if not (attention and n.endswith(".out_proj"))}  # goes with the attention
    config = LoraConfig(
        r=RANK, lora_alpha=2 * RANK, use_dora=kind == "dora", target_modules="|".join(map(re.escape, layers))
    )
    theirs = get_peft_model(plain, config)
    own = {n.removeprefix("base_model.model."): v for n, v in theirs.named_parameters() if v.requires_grad}
    assert sum(v.numel() for v in own.values()) == sum(v.numel() for v in ours.values())
    with torch.no_grad():
        for n, value in ours.items():
            if attention and ".out_proj." in n and "lora_B" in n:
                value.zero_()  # peft adds it twice: https://github.com/huggingface/peft/pull/3774
            if attention:
                n = n.replace(".in_proj.lora", ".lora").replace(".out_proj.lora", ".base_layer.out_proj.lora")
            own[n].copy_(value)
        found, expected = case.out(), case.run(theirs.base_model.model)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    merged = theirs.merge_and_unload()
    low.merge(case.module)
    state = merged.state_dict()
    for n, value in case.module.state_dict().items():
        torch.testing.assert_close(value, state[n], rtol=1e-5, atol=1e-6)


@pytest.mark.full
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", MAKE)
def test_outputs_are_those_of_the_papers_weights(name: str, kind: str) -> None:
    """W + alpha / rank * B A, with DoRA each output's weights divided by their length and times the trained one."""
    case = make(name)
    plain = copy.deepcopy(case.module)
    low = case.inject(kind)
    disturb(case, low)
    ours = {n: value.detach().double() for n, value in matrices(case, low).items()}
    for base in low.base_names:
        layer = base.replace("in_proj_weight", "in_proj.weight").removesuffix(".weight")
        weight = plain.get_parameter(base)
        a, b = ours[f"{layer}.lora_A.default.weight"], ours[f"{layer}.lora_B.default.weight"]
        change = 2 * (torch.einsum("orhw,rikl->oikl", b, a) if a.ndim == 4 else b @ a)
        rows = name == "gpt2"  # transformers' Conv1D is (in, out)
        whole = (weight.T if rows else weight).detach().double() + change
        if kind == "dora":
            flat = nn.functional.normalize(whole.flatten(1))
            whole = (flat * ours[f"{layer}.lora_magnitude_vector.default.weight"].reshape(-1, 1)).reshape(whole.shape)
        with torch.no_grad():
            weight.copy_(whole.T if rows else whole)
    with torch.no_grad():
        expected = case.run(plain)
    assert float((case.out() - expected).abs().max()) <= 5e-6 * max(1.0, float(expected.abs().max()))


def test_layers_are_chosen_by_what_they_are() -> None:
    def layers(name: str) -> set[str]:
        return set(make(name).inject().base_names)

    vit = layers("vit")
    assert vit == {
        f"blocks.{n}.{layer}.weight" for n in range(2) for layer in ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")
    }
    resnet = layers("resnet")
    assert {"conv1.weight", "layer1.0.conv1.weight", "layer4.0.downsample.0.weight"} <= resnet
    assert not any(n.startswith("fc.") or ".bn" in n for n in resnet)
    mobile = layers("mobilenet")
    assert "blocks.1.0.conv_pw.weight" in mobile and "blocks.1.0.conv_pwl.weight" in mobile
    assert not any("conv_dw" in n or "classifier" in n for n in mobile)
    convnext = layers("convnext")
    assert "stages.0.blocks.0.mlp.fc1.weight" in convnext and not any("conv_dw" in n for n in convnext)
    for tower in ("clip image", "clip text"):
        place = "visual.transformer" if tower == "clip image" else "transformer"
        parts = ("attn.in_proj_weight", "attn.out_proj.weight", "mlp.c_fc.weight", "mlp.c_proj.weight")
        assert layers(tower) == {f"{place}.resblocks.{n}.{part}" for n in range(2) for part in parts}
    assert not any("pooler" in n or "embeddings" in n for n in layers("minilm"))
    for name, place in READ.items():
        assert any(place in n for n in layers(name))


def test_what_cannot_be_adapted_exactly_is_left_out() -> None:
    shared = nn.Linear(32, 32)
    model = nn.ModuleDict(
        {
            "plain": nn.Conv2d(16, 16, 3),
            "dilated": nn.Conv2d(16, 16, 3, dilation=2),
            "mirrored": nn.Conv2d(16, 16, 3, padding_mode="reflect"),
            "grouped": nn.Conv2d(16, 16, 3, groups=2),
            "standardised": timm.layers.StdConv2d(16, 16, 3),
            "small": nn.Conv2d(2, 16, 1),
            "once": shared,
            "again": nn.Sequential(shared),
            "computed": nn.utils.parametrizations.weight_norm(nn.Linear(32, 32)),
            "dead": nn.Conv2d(16, 16, 3),
        }
    )
    nn.init.zeros_(model["dead"].weight[3])
    blocks = by_number(model)
    for kind, found in (("lora", ("plain.weight", "dead.weight")), ("dora", ("plain.weight",))):
        low = inject(model, blocks, kind=kind, rank=RANK, alpha=4, dropout=0.0, seed=0)
        assert low.base_names == found
        low.merge(model)


@pytest.mark.parametrize("kind", KINDS)
def test_the_seed_is_the_matrices_and_torchs_own_numbers_go_on(kind: str) -> None:
    found = []
    for seed, before in ((3, 0), (3, 1), (4, 0)):
        case = make("clip text")
        torch.manual_seed(before)
        state = torch.get_rng_state()
        low = case.inject(kind, seed=seed)
        assert torch.equal(torch.get_rng_state(), state)
        found.append({n: value.detach().clone() for n, value in matrices(case, low).items()})
    assert found[0].keys() == found[1].keys() == found[2].keys()
    assert all(torch.equal(value, found[1][n]) for n, value in found[0].items())
    assert any(not torch.equal(value, found[2][n]) for n, value in found[0].items())


def test_a_copy_can_be_merged() -> None:
    case = make("clip image")
    low = case.inject("dora")
    disturb(case, low)
    apart, kept = case.out(), case.module
    case.module = copy.deepcopy(kept)
    low.merge(case.module)
    torch.testing.assert_close(case.out(), apart, rtol=0, atol=5e-6)
    assert not any(isinstance(m, LoraLayer) for m in case.module.modules())
    assert any(isinstance(m, LoraLayer) for m in kept.modules())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("model", ["vit", "resnet"])
def test_plans_have_every_matrix_with_its_blocks_rate(model: str, kind: str) -> None:
    case = make(model)
    blocks, low = case.blocks, case.inject(kind)
    assert [block.name for block in low.blocks] == [block.name for block in blocks]
    plan = make_plan(case.module, low.blocks, nn.Linear(8, 3), Settings(kind, lr=1.0, layer_decay=0.5))
    assert plan.trained == set(matrices(case, low))
    rates = {name: group for group in plan.groups for name in group.parameters}
    for number, block in enumerate(low.blocks):
        for name in block.parameters:
            assert rates[name].rate == 0.5 ** (len(blocks) - number)
            assert (rates[name].weight_decay > 0) == ("magnitude" not in name)


@pytest.mark.full
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("norms", ["eval", "train"])
def test_running_statistics_stay_and_dropout_works(norms: str, kind: str) -> None:
    case = make("resnet")
    low = case.inject(kind, dropout=0.5)
    disturb(case, low)
    case.module.reset_classifier(0)
    grafted = Grafted(SimpleNamespace(module=case.module, embed=case.module, embed_dim=512), nn.Linear(512, 3))
    settings = Settings(kind, norms=norms)
    grafted.open(make_plan(grafted.body, low.blocks, grafted.head, settings))
    grafted.train_by(settings.norms_in_eval)
    seal = Seal(grafted)
    assert {f"body.{n}" for n in matrices(case, low)} | {"head.weight", "head.bias"} == set(grafted.live())
    pixels = torch.randn(4, 3, 64, 64)
    optimizer = torch.optim.AdamW([p for p in grafted.parameters() if p.requires_grad])
    torch.manual_seed(0)
    one, other = grafted(pixels), grafted(pixels)
    assert not torch.equal(one, other)
    (one + other).square().mean().backward()
    optimizer.step()
    seal.check(grafted)
    grafted.eval()
    with torch.no_grad():
        assert torch.equal(grafted(pixels), grafted(pixels))


def test_wrong_use_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    case = make("vit")
    built = structure(case.module)
    for rank in (0, -1, True, 2.5):
        with pytest.raises(UsageError, match="a whole number above 0"):
            case.inject(rank=rank)
    with pytest.raises(UsageError, match=r"rank 4000: .*take a lower rank"):
        case.inject(rank=4000)
    with pytest.raises(UsageError, match="lora_dropout must be from 0 to below 1"):
        case.inject(dropout=1.0)
    with pytest.raises(UsageError, match="lora_alpha must be above 0"):
        inject(case.module, case.blocks, kind="lora", rank=4, alpha=0.0, dropout=0.0, seed=0)
    with pytest.raises(UsageError, match="no layer that lora could adapt"):
        inject(nn.Sequential(nn.LayerNorm(8)), (), kind="lora", rank=4, alpha=4.0, dropout=0.0, seed=0)
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "peft", None)
        with pytest.raises(UsageError, match=re.escape("pip install 'modelgraft[lora]'")):
            case.inject()
    assert structure(case.module) == built
    case.inject()
    with pytest.raises(UsageError, match="holds low-rank matrices already"):
        case.inject()
