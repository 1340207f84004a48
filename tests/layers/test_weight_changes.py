"""Results never come from old weights: the next call uses weights changed in any way."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize, prune

from unrolled.decoding.model_steps import ModelSteps
from unrolled.decoding.text_session import TextSession
from unrolled.layers.attention import Attention
from unrolled.layers.conditional import TanhScorer
from unrolled.layers.crf import LinearChainCRF
from unrolled.layers.decoder import AttentionalDecoder
from unrolled.layers.encoder import Bridge
from unrolled.layers.head import AdaptiveHead, SampledHead, SoftmaxHead
from unrolled.layers.recurrent_stack import RecurrentStack
from unrolled.ops import native
from unrolled.predictors.precision import set_precision
from unrolled.shapes import Padded
from unrolled.tasks.language_model import LanguageModel, LanguageModelConfig
from unrolled.text.config import TextConfig
from unrolled.text.tokenizer import Tokenizer
from unrolled.training.averaging import WeightAverage
from unrolled.training.config import TrainingConfig
from unrolled.training.optimizer import build_optimiser

pytestmark = pytest.mark.usefixtures("one_thread")

B, S, E, H, M = 3, 5, 7, 11, 4
PRECISIONS = ["float32"] if native.kernels is None else ["float32", "int8"]


def of(module: nn.Module) -> dict[str, Tensor]:
    """The recurrent weights, by name."""
    return {n: p for n, p in module.named_parameters() if "weight_" in n and "_l" in n}


def other(weight: Tensor) -> Tensor:
    return torch.randn(weight.shape) / 3


def by_optimiser(build: Callable[[nn.Module], object]) -> Callable[[nn.Module], None]:
    def change(module: nn.Module) -> None:
        optimiser = build(module)
        for parameter in module.parameters():
            parameter.grad = torch.randn_like(parameter)
        for _ in range(2):
            optimiser.step()

    return change


def adam(**options: bool) -> Callable[[nn.Module], None]:
    return by_optimiser(lambda module: torch.optim.AdamW(module.parameters(), lr=0.1, **options))


def ours(**options: str) -> Callable[[nn.Module], None]:
    config = TrainingConfig(max_steps=1, learning_rate=0.1, **options)
    return by_optimiser(lambda module: build_optimiser(config, module))


def each(change: Callable[[nn.Parameter, Tensor], object]) -> Callable[[nn.Module], None]:
    def change_all(module: nn.Module) -> None:
        for weight in of(module).values():
            change(weight, other(weight))

    return change_all


def set_data(weight: nn.Parameter, new: Tensor) -> None:
    weight.data = new


@torch.no_grad()
def by_numpy(weight: nn.Parameter, new: Tensor) -> None:
    weight.detach().numpy()[:] = new.numpy()


def swapped(module: nn.Module) -> None:
    for layer in module.modules():
        if isinstance(layer, nn.RNNBase):
            # torch itself drops these before it swaps, and raises an error otherwise.
            layer._flat_weight_refs = []
    each(lambda weight, new: torch.utils.swap_tensors(weight, nn.Parameter(new)))(module)


def unseen_by_autograd(weight: nn.Parameter, new: Tensor) -> None:
    with torch.autograd._unsafe_preserve_version_counter(weight), torch.no_grad():
        weight.copy_(new)


def load(module: nn.Module, assign: bool) -> None:
    module.load_state_dict({n: other(p) for n, p in module.state_dict().items()}, assign=assign)


@torch.no_grad()
def by_vector(module: nn.Module) -> None:
    vector = nn.utils.parameters_to_vector(module.parameters())
    nn.utils.vector_to_parameters(torch.randn_like(vector) / 3, module.parameters())


def owners(module: nn.Module) -> Iterator[tuple[nn.Module, str]]:
    """The recurrent layers inside, with the names of their recurrent weights."""
    for layer in module.modules():
        if isinstance(layer, nn.RNNBase):
            for depth in range(layer.num_layers):
                yield layer, f"weight_hh_l{depth}"


def by_layer(change: Callable[[nn.Module, str], object]) -> Callable[[nn.Module], None]:
    def change_all(module: nn.Module) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            for layer, name in list(owners(module)):
                change(layer, name)

    return change_all


def normed(layer: nn.Module, name: str) -> None:
    nn.utils.weight_norm(layer, name)
    getattr(layer, f"{name}_g").data.mul_(0.5)


def replaced(layer: nn.Module, name: str) -> None:
    setattr(layer, name, nn.Parameter(other(getattr(layer, name))))


class Halved(nn.Module):
    def forward(self, weight: Tensor) -> Tensor:
        return weight / 2


def moved(module: nn.Module) -> None:
    for weight in of(module).values():
        weight.data.mul_(0.5)
    module.double().float()


CHANGES: dict[str, Callable[[nn.Module], None]] = {
    "fused adam": adam(fused=True),
    "foreach adam": adam(foreach=True),
    "plain adam": adam(foreach=False),
    "our adam": ours(optimiser="adam"),
    "our sgd": ours(optimiser="sgd"),
    "data =": each(set_data),
    "data.copy_": each(lambda weight, new: weight.data.copy_(new)),
    "numpy": each(by_numpy),
    "no version": each(unseen_by_autograd),
    "swap_tensors": swapped,
    "load_state_dict": lambda module: load(module, assign=False),
    "load_state_dict, assigned": lambda module: load(module, assign=True),
    "vector_to_parameters": by_vector,
    "replaced": by_layer(replaced),
    "weight norm": by_layer(normed),
    "parametrised": by_layer(
        lambda layer, name: parametrize.register_parametrization(layer, name, Halved())
    ),
    "orthogonal": by_layer(lambda layer, name: parametrizations.orthogonal(layer, name)),
    "pruned": by_layer(lambda layer, name: prune.random_unstructured(layer, name, amount=0.5)),
    "moved and back": moved,
}


def make_stack() -> RecurrentStack:
    return RecurrentStack("lstm", E, [H, H])


def make_decoder() -> AttentionalDecoder:
    return AttentionalDecoder("gru", E, H, H, memory_size=M, attention="additive", n_layers=2)


@torch.no_grad()
def stack_answers(stack: RecurrentStack) -> list[Tensor]:
    """The results of two steps and of a whole text."""
    x = torch.linspace(-1, 1, B * 2 * E).view(B, 2, E)
    start = tuple(tuple(part + 0.5 for part in layer) for layer in stack.start(B))
    first, state = stack.step(x[:, 0], start)
    second, _ = stack.step(x[:, 1], state)
    whole, _ = stack(Padded(x, torch.tensor([2, 1, 2])), start)
    return [first, second, whole]


@torch.no_grad()
def decoder_answers(decoder: AttentionalDecoder) -> list[Tensor]:
    memory = Padded(torch.linspace(-1, 1, B * S * M).view(B, S, M), torch.tensor([5, 4, 1]))
    words = torch.linspace(-1, 1, B * 2 * E).view(B, 2, E)
    layers = tuple((torch.full((B, H), 0.1),) for _ in range(2))
    state = decoder.start(layers, decoder.attention.remember(memory))
    whole, _, _ = decoder(words, state)
    first, state, _ = decoder.step(words[:, :1], state)
    second, _, _ = decoder.step(words[:, 1:], state)
    weights = decoder.arrange()
    looped, _, _ = decoder.step(words[:, 1:], state, weights)
    return [whole, first, second, looped]


MODELS = {"stack": (make_stack, stack_answers), "decoder": (make_decoder, decoder_answers)}


def plain_copy(module: nn.Module, make: Callable[[], nn.Module]) -> nn.Module:
    """A new module whose parameters have the values with which the old one computes."""
    fresh = make()
    fresh.precision = module.precision
    with torch.no_grad():
        for name, parameter in fresh.named_parameters():
            value = module
            for part in name.split("."):
                value = getattr(value, part)
            parameter.copy_(value)
    return fresh


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("model", MODELS)
def test_the_next_prediction_uses_the_new_weights(model: str, change: str, precision: str) -> None:
    make, answers = MODELS[model]
    module = make()
    module.precision = precision
    before = answers(module)
    CHANGES[change](module)
    after, right = answers(module), answers(plain_copy(module, make))
    for old, new, expected in zip(before, after, right, strict=True):
        assert torch.equal(new, expected)
        assert not torch.equal(new, old)


@contextmanager
def averaged(module: nn.Module) -> Iterator[None]:
    average = WeightAverage(module, decay=0.5)
    adam(fused=True)(module)
    average.update(step=1)
    with average.in_place():
        yield


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("model", MODELS)
def test_averaged_weights_are_used_while_in_place(model: str, precision: str) -> None:
    make, answers = MODELS[model]
    module = make()
    module.precision = precision
    with ExitStack() as stack:
        answers(module)
        stack.enter_context(averaged(module))
        of_average = answers(module)
        right = answers(plain_copy(module, make))
        assert all(map(torch.equal, of_average, right))
    back = answers(module)
    assert all(map(torch.equal, back, answers(plain_copy(module, make))))
    assert not any(map(torch.equal, back, of_average))


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("model", MODELS)
def test_a_copy_and_its_original_are_independent(model: str, precision: str) -> None:
    make, answers = MODELS[model]
    module = make()
    module.precision = precision
    before = answers(module)
    other_module = copy.deepcopy(module)
    adam(fused=True)(other_module)
    assert all(map(torch.equal, answers(module), before))
    assert not any(map(torch.equal, answers(other_module), before))


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("model", MODELS)
def test_weights_made_in_inference_mode_can_change(model: str, precision: str) -> None:
    make, answers = MODELS[model]
    with torch.inference_mode():
        module = make()
        module.precision = precision
        before = answers(module)
        for weight in of(module).values():
            weight.mul_(0.5)
        after, right = answers(module), answers(plain_copy(module, make))
    assert all(map(torch.equal, after, right))
    assert not any(map(torch.equal, after, before))


@pytest.mark.parametrize("model", MODELS)
def test_weights_passed_for_one_call_are_used(model: str) -> None:
    make, answers = MODELS[model]
    module, given = make(), make()

    class Answers(nn.Module):
        def __init__(self, inner: nn.Module) -> None:
            super().__init__()
            self.inner = inner

        def forward(self) -> list[Tensor]:
            return answers(self.inner)

    before = answers(module)
    weights = {f"inner.{name}": p for name, p in given.named_parameters()}
    during = torch.func.functional_call(Answers(module), weights, ())
    assert all(map(torch.equal, during, answers(given)))
    assert all(map(torch.equal, answers(module), before))


def test_states_do_not_contain_weights() -> None:
    first, second = make_decoder(), make_decoder()
    memory = Padded(torch.randn(B, S, M), torch.full((B,), S))
    layers = tuple((torch.zeros(B, H),) for _ in range(2))
    words = torch.randn(B, 1, E)
    with torch.no_grad():
        _, state, _ = first.step(words, first.start(layers, first.attention.remember(memory)))
        ours, _, _ = second.step(words, state)
        alone = second.start(tuple((p[:, 0],) for (p,) in state.layers), state.memory)
        right, _, _ = second.step(words, replace(alone, feed=state.feed))
    assert torch.equal(ours, right)
    # Gradients work again from a state that was computed without them.
    output, _, _ = second.step(words, state)
    output.sum().backward()
    assert all(weight.grad is not None for weight in of(second).values())


TOKENIZER = Tokenizer.train(["the cat sat there"], TextConfig(kind="char"), running=True)


def make_language_model() -> LanguageModel:
    config = LanguageModelConfig(cell="gru", embedding_size=E, hidden_size=H, n_layers=2)
    return LanguageModel(config, len(TOKENIZER))


def session_answers(session: TextSession) -> list[object]:
    """The results of a session now and after reading more."""
    said: list[object] = [session.log_probs().tolist()]
    session.feed("the c")
    said += [session.log_probs().tolist(), session.complete(3), session.surprise("cat sat")]
    return [*said, list(session.generate(5, temperature=0))]


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("change", ["fused adam", "data =", "numpy", "load_state_dict, assigned"])
def test_a_session_continues_with_the_new_weights(change: str, precision: str) -> None:
    model = make_language_model()
    set_precision(model, precision)
    session = TextSession(model, TOKENIZER)
    session_answers(session)
    before = session_answers(session.copy())
    CHANGES[change](model)
    other = session.copy()
    same = make_language_model()
    same.load_state_dict(model.state_dict())
    set_precision(same, precision)
    other._steps = ModelSteps(same)
    right = session_answers(other)
    assert session_answers(session) == right
    assert all(old != new for old, new in zip(before[1:-1], right[1:-1], strict=True))


@pytest.mark.parametrize("precision", PRECISIONS[1:])
def test_a_session_only_repacks_changed_weights(precision: str) -> None:
    stack = make_stack()
    stack.precision = precision
    with torch.no_grad():
        packed = stack.packed()
        assert stack.packed(packed) is packed
        of(stack)["layers.1.weight_hh_l0"].data[-1, -1] = float("nan")
        changed = stack.packed(packed)
        assert changed is not packed
        assert stack.packed(changed) is changed
        of(stack)["layers.1.weight_hh_l0"].data[-1, -1] = 0.0
        zero = stack.packed(changed)
        of(stack)["layers.1.weight_hh_l0"].data[-1, -1] = -0.0
        assert stack.packed(zero) is not zero
        stack.precision = "float32"
        assert stack.packed(packed) is None


WORDS = torch.tensor([0, 5, 19, 7])
HIDDEN = torch.linspace(-1, 1, 4 * 16).view(4, 16)
PARTS: dict[str, tuple[Callable[[], nn.Module], str, Callable[[nn.Module], Tensor]]] = {
    "softmax": (lambda: SoftmaxHead(16, 20), "weight", lambda head: head.logits(HIDDEN)),
    "softmax's loss": (
        lambda: SoftmaxHead(16, 20),
        "weight",
        lambda head: head.loss(HIDDEN, WORDS)[0],
    ),
    "sampled": (
        lambda: SampledHead(16, 20, n_samples=20),
        "weight",
        lambda head: head.loss(HIDDEN, WORDS)[0],
    ),
    "adaptive": (
        lambda: AdaptiveHead(16, 20, [5]),
        "layers.head.weight",
        lambda head: head.loss(HIDDEN, WORDS)[0],
    ),
    "adaptive's tail": (
        lambda: AdaptiveHead(16, 20, [5]),
        "layers.tail.0.1.weight",
        lambda head: head.logits(HIDDEN),
    ),
    "crf": (
        lambda: drawn(LinearChainCRF(16)),
        "transition_weight",
        lambda crf: crf.loss(HIDDEN[None], WORDS[None] % 16, torch.tensor([4]))[0],
    ),
    "attention's keys": (
        lambda: Attention("general", 16, 16),
        "key_weight",
        lambda attention: attention.remember(Padded(HIDDEN[None], torch.tensor([4]))).keys,
    ),
    "attention's query": (
        lambda: Attention("additive", 16, 16),
        "query_weight",
        lambda attention: attention.arrange()(HIDDEN),
    ),
    "bridge": (
        lambda: Bridge("gru", 16, 16, 1),
        "projections.0.0.weight",
        lambda bridge: bridge(((HIDDEN,),))[0][0],
    ),
    "scorer": (lambda: TanhScorer(16, 3), "output.weight", lambda scorer: scorer(HIDDEN)),
}


def drawn(module: nn.Module) -> nn.Module:
    for parameter in module.parameters():
        nn.init.normal_(parameter)
    return module


@pytest.mark.parametrize(("make", "name", "answer"), PARTS.values(), ids=PARTS)
def test_a_pruned_weight_follows_its_original(
    make: Callable[[], nn.Module], name: str, answer: Callable[[nn.Module], Tensor]
) -> None:
    module, (path, _, last) = make(), name.rpartition(".")
    owner = module.get_submodule(path)
    plain = copy.deepcopy(module)
    prune.random_unstructured(owner, last, amount=0.5)
    # Twice: the graph of the first pass no longer exists in the second.
    for _ in range(2):
        answer(module).sum().backward()
    original = getattr(owner, f"{last}_orig")
    original.data.copy_(other(original))
    plain.get_parameter(name).data.copy_(original * getattr(owner, f"{last}_mask"))
    torch.testing.assert_close(answer(module), answer(plain), rtol=0, atol=0)
