"""The linear-chain CRF compared with the enumeration of all paths."""

from __future__ import annotations

import itertools
import re
from functools import cache

import pytest
import torch

from unrolled.errors import ConfigError, DataError
from unrolled.layers import crf as crf_module
from unrolled.layers.crf import LinearChainCRF, allowed_transitions

T, C = 5, 3
LENGTHS = torch.tensor([5, 2, 0, 1, 3, 5, 4])
B = len(LENGTHS)
LABELS = {"bio": ["O", "B-X", "I-X"], "bioes": ["S", "O", "E", "B"]}

pytestmark = pytest.mark.usefixtures("one_thread")

WAYS = ("by_products", "by_logarithms")


@pytest.fixture(params=WAYS)
def way(request, monkeypatch):
    """Both ways of running the recursions."""
    if request.param == "by_logarithms":
        monkeypatch.setattr(crf_module, "_LOWEST_EXPONENT", -1.0)
    else:
        sure = crf_module._ByLogarithms

        def only_for_nothing(chain, *args):
            assert not chain.e_TBC.numel()
            return sure(chain, *args)

        monkeypatch.setattr(crf_module, "_ByLogarithms", only_for_nothing)
    return request.param


every_scheme = pytest.mark.parametrize("scheme", [None, "bio", "bioes"])


def make(scheme=None, dtype=torch.float64, scale=1.0) -> LinearChainCRF:
    names = LABELS.get(scheme)
    allowed = None if scheme is None else allowed_transitions(names, scheme)
    crf = LinearChainCRF(C if names is None else len(names), allowed).to(dtype)
    for parameter in crf.parameters():
        torch.nn.init.normal_(parameter, std=scale)
    crf.scheme = scheme
    return crf


def chunks_are_well_formed(labels, scheme):
    """The definition of a scheme, from left to right."""
    inside = None
    for label in labels:
        letter, _, kind = label.partition("-")
        if letter in "IE" and inside != kind:
            return False
        if letter in "BOS" and inside is not None and scheme == "bioes":
            return False
        inside = kind if letter in "BI" else None
    return scheme == "bio" or inside is None


@cache
def paths_of(scheme, n: int):
    """All paths of n labels that the scheme allows."""
    labels = LABELS.get(scheme, range(C))
    return [
        path
        for path in itertools.product(range(len(labels)), repeat=n)
        if scheme is None or chunks_are_well_formed([labels[label] for label in path], scheme)
    ]


def scores_of(crf: LinearChainCRF, emissions_TC, paths):
    """s(y) of paths of one length, term by term."""
    if not paths[0]:
        return emissions_TC.new_zeros(len(paths))
    steps = torch.tensor(paths).unbind(1)
    total = crf.start_weight[steps[0]] + crf.end_weight[steps[-1]]
    for t, labels in enumerate(steps):
        total = total + emissions_TC[t, labels]
    for before, here in itertools.pairwise(steps):
        total = total + crf.transition_weight[before, here]
    return total


def all_scores(crf, emissions_TC, n):
    paths = paths_of(crf.scheme, n)
    return paths, scores_of(crf, emissions_TC, paths)


def example(crf, dtype=torch.float64, filling=float("nan")):
    """Emissions, gold paths drawn from the allowed ones, and values in the padding."""
    n_labels = len(crf.start_weight)
    emissions = torch.randn(B, T, n_labels, dtype=dtype)
    tags = torch.full((B, T), -7)
    for b, n in enumerate(LENGTHS.tolist()):
        paths = paths_of(crf.scheme, n)
        chosen = paths[int(torch.randint(len(paths), ()))]
        tags[b, :n] = torch.tensor(chosen, dtype=torch.int64)
        emissions[b, n:] = filling
    return emissions.requires_grad_(), tags


def by_enumeration(crf, emissions, tags):
    """−log p of each row's path."""
    nats = []
    for b, n in enumerate(LENGTHS.tolist()):
        _, scores = all_scores(crf, emissions[b], n)
        nats.append(scores.logsumexp(0) - scores_of(crf, emissions[b], [tags[b, :n].tolist()])[0])
    return torch.stack(nats)


@every_scheme
def test_loss_and_gradients_equal_enumeration_of_paths(scheme, way):
    crf = make(scheme)
    emissions, tags = example(crf)
    total, count = crf.loss(emissions, tags, LENGTHS)
    right = by_enumeration(crf, emissions, tags)
    assert count == int(LENGTHS.sum())
    torch.testing.assert_close(total, right.sum(), rtol=1e-12, atol=1e-12)
    leaves = {"emissions": emissions, **dict(crf.named_parameters())}
    gradients = [
        torch.autograd.grad(value, list(leaves.values()), retain_graph=True)
        for value in (3 * total, 3 * right.sum())
    ]
    for name, ours, exact in zip(leaves, *gradients, strict=True):
        torch.testing.assert_close(
            ours, exact, rtol=1e-10, atol=1e-12, msg=lambda text, n=name: f"{n}: {text}"
        )


@every_scheme
def test_probabilities_of_paths_have_gradients_row_by_row(scheme, way):
    crf = make(scheme)
    emissions, tags = example(crf)
    ours, right = crf.log_prob(emissions, tags, LENGTHS), -by_enumeration(crf, emissions, tags)
    torch.testing.assert_close(ours, right, rtol=1e-12, atol=1e-12)
    assert ours[2] == 0  # the only path without labels
    weight = torch.randn(B, dtype=torch.float64)
    leaves = [emissions, *crf.parameters()]
    for one, other in zip(
        torch.autograd.grad((ours * weight).sum(), leaves),
        torch.autograd.grad((right * weight).sum(), leaves),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


@every_scheme
def test_probabilities_of_all_paths_sum_to_one(scheme, way):
    crf = make(scheme)
    for n in (1, 2, 4):
        paths = paths_of(crf.scheme, n)
        emissions = torch.randn(1, n, len(crf.start_weight), dtype=torch.float64)
        rows = emissions.expand(len(paths), -1, -1)
        log_probs = crf.log_prob(rows, torch.tensor(paths), torch.full((len(paths),), n))
        assert log_probs.exp().sum().item() == pytest.approx(1.0, abs=1e-12)


@every_scheme
def test_marginals_are_path_shares_by_label(scheme, way):
    crf = make(scheme)
    emissions, _ = example(crf)
    marginals = crf.marginals(emissions, LENGTHS)
    assert not marginals.requires_grad
    right = torch.zeros_like(marginals)
    for b, n in enumerate(LENGTHS.tolist()):
        paths, scores = all_scores(crf, emissions[b].detach(), n)
        for path, share in zip(paths, scores.softmax(0), strict=True):
            for t, label in enumerate(path):
                right[b, t, label] += share
    torch.testing.assert_close(marginals, right, rtol=1e-12, atol=1e-12)


@every_scheme
def test_the_best_path_equals_exhaustive_search(scheme):
    for _ in range(5):
        crf = make(scheme)
        emissions, _ = example(crf)
        found = crf.best(emissions, LENGTHS)
        assert found.dtype is torch.int64
        for b, n in enumerate(LENGTHS.tolist()):
            paths, scores = all_scores(crf, emissions[b], n)
            assert tuple(found[b, :n].tolist()) == paths[int(scores.argmax())]
            assert not found[b, n:].any()


@every_scheme
def test_padding_cannot_be_seen(scheme, way):
    crf = make(scheme)
    torch.manual_seed(0)
    emissions, tags = example(crf)
    past = torch.arange(T) >= LENGTHS.unsqueeze(1)
    results = []
    for filling in (0.0, float("nan"), float("-inf"), 1e300):
        filled = emissions.detach().masked_fill(past.unsqueeze(2), filling).requires_grad_()
        total, _ = crf.loss(filled, tags, LENGTHS)
        gradients = torch.autograd.grad(total, [filled, *crf.parameters()])
        assert not gradients[0][past].any()
        marginals = crf.marginals(filled, LENGTHS)
        assert not marginals[past].any()
        results.append([total.detach(), crf.best(filled, LENGTHS), marginals, *gradients])
    for other in results[1:]:
        assert all(map(torch.equal, results[0], other))


@every_scheme
def test_the_loss_of_a_row_is_independent_of_its_batch(scheme, way):
    crf = make(scheme)
    emissions, tags = example(crf)
    whole = crf.log_prob(emissions, tags, LENGTHS)
    order = torch.randperm(B)
    moved = crf.log_prob(emissions[order], tags[order], LENGTHS[order])
    torch.testing.assert_close(moved, whole[order], rtol=1e-12, atol=1e-12)
    for b, n in enumerate(LENGTHS.tolist()):
        alone = crf.log_prob(emissions[b : b + 1, :n], tags[b : b + 1, :n], LENGTHS[b : b + 1])
        torch.testing.assert_close(alone[0], whole[b], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("n_rows", "n_steps"), [(0, 3), (2, 0), (0, 0)])
def test_empty_batches_have_zero_loss(n_rows, n_steps):
    crf, lengths = make(), torch.zeros(n_rows, dtype=torch.int64)
    emissions = torch.randn(n_rows, n_steps, C, dtype=torch.float64, requires_grad=True)
    tags = torch.zeros(n_rows, n_steps, dtype=torch.int64)
    total, count = crf.loss(emissions, tags, lengths)
    assert (total.item(), count) == (0.0, 0)
    total.backward()
    assert all(not parameter.grad.any() for parameter in crf.parameters())
    assert crf.best(emissions, lengths).shape == (n_rows, n_steps)
    assert crf.marginals(emissions, lengths).shape == (n_rows, n_steps, C)


def test_with_one_label_there_is_one_path():
    crf = LinearChainCRF(1)
    emissions, lengths = torch.randn(2, 3, 1, requires_grad=True), torch.tensor([3, 1])
    total, _ = crf.loss(emissions, torch.zeros(2, 3, dtype=torch.int64), lengths)
    total.backward()
    assert total.item() == pytest.approx(0.0, abs=1e-6)
    assert not emissions.grad.any()


def test_zero_transitions_give_a_softmax_at_each_step():
    crf = make(scale=0.0)
    emissions, tags = example(crf)
    total, count = crf.loss(emissions, tags, LENGTHS)
    real = torch.arange(T) < LENGTHS.unsqueeze(1)
    right = torch.nn.functional.cross_entropy(emissions[real], tags[real], reduction="sum")
    torch.testing.assert_close(total, right)
    assert count == int(real.sum())


@every_scheme
def test_float32_is_the_same_map(scheme):
    crf = make(scheme)
    emissions, tags = example(crf)
    exact, _ = crf.loss(emissions, tags, LENGTHS)
    right = torch.autograd.grad(exact, [emissions, *crf.parameters()])
    crf = crf.float()
    single = emissions.detach().float().requires_grad_()
    total, _ = crf.loss(single, tags, LENGTHS)
    assert total.dtype is torch.float32
    torch.testing.assert_close(total.double(), exact, rtol=1e-6, atol=1e-6)
    for one, other in zip(
        torch.autograd.grad(total, [single, *crf.parameters()]), right, strict=True
    ):
        assert one.dtype is torch.float32
        torch.testing.assert_close(one.double(), other, rtol=1e-5, atol=1e-6)


def test_in_bfloat16_the_loss_is_a_float32():
    crf = make().float()
    emissions = torch.randn(B, T, C, dtype=torch.bfloat16, requires_grad=True)
    tags = torch.zeros(B, T, dtype=torch.int64)
    total, _ = crf.loss(emissions, tags, LENGTHS)
    total.backward()
    exact, _ = crf.loss(emissions.detach().float(), tags, LENGTHS)
    assert total.dtype is torch.float32
    assert total.item() == exact.item()
    assert emissions.grad.dtype is torch.bfloat16


@every_scheme
@pytest.mark.parametrize("scale", [300.0, 1e5])
def test_scores_of_any_size_keep_their_precision(scheme, scale):
    crf = make(scheme, scale=scale)
    emissions, tags = example(crf)
    emissions = (emissions.detach() * scale).requires_grad_()
    total, _ = crf.loss(emissions, tags, LENGTHS)
    right = by_enumeration(crf, emissions, tags).sum()
    torch.testing.assert_close(total, right, rtol=1e-12, atol=1e-12)
    for one, other in zip(
        torch.autograd.grad(total, [emissions, *crf.parameters()], retain_graph=True),
        torch.autograd.grad(right, [emissions, *crf.parameters()]),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-14 * scale)


@every_scheme
def test_products_equal_logarithms_up_to_their_limit(scheme, monkeypatch):
    crf = make(scheme)
    emissions, tags = example(crf)
    ran = []
    for name in ("_ByProducts", "_ByLogarithms"):
        original = getattr(crf_module, name)
        monkeypatch.setattr(
            crf_module, name, lambda *args, n=name, f=original: ran.append(n) or f(*args)
        )
    scale = 1.0
    while "_ByLogarithms" not in ran:
        larger = (emissions.detach() * scale).requires_grad_()
        leaves = [larger, *crf.parameters()]
        with monkeypatch.context() as patch:
            ran.clear()
            quick, _ = crf.loss(larger, tags, LENGTHS)
            quick_gradients = torch.autograd.grad(quick, leaves)
            patch.setattr(crf_module, "_LOWEST_EXPONENT", -1.0)
            sure, _ = crf.loss(larger, tags, LENGTHS)
            assert ran[-1] == "_ByLogarithms"
            ran.pop()
        torch.testing.assert_close(quick, sure, rtol=1e-12, atol=1e-12)
        for one, other in zip(quick_gradients, torch.autograd.grad(sure, leaves), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-11)
        scale *= 1.3
    assert scale > 10


def test_long_rows_neither_overflow_nor_underflow():
    crf = make("bio", scale=2.0)
    emissions = 5 * torch.randn(2, 400, C, dtype=torch.float64)
    lengths = torch.tensor([400, 399])
    tags = crf.best(emissions, lengths)
    total, _ = crf.loss(emissions, tags, lengths)
    assert 0 < total.item() < 800
    marginals = crf.marginals(emissions, lengths)
    torch.testing.assert_close(marginals[0].sum(1), torch.ones(400, dtype=torch.float64))


def test_nothing_is_stored_if_no_gradient_is_wanted(monkeypatch):
    crf, asked = make(), []
    original = crf_module._lattice
    monkeypatch.setattr(
        crf_module, "_lattice", lambda *args, both: asked.append(both) or original(*args, both=both)
    )
    emissions, tags = example(crf)
    crf.loss(emissions, tags, LENGTHS)
    with torch.no_grad():
        assert not crf.loss(emissions, tags, LENGTHS)[0].requires_grad
    assert asked == [True, False]


def test_forbidden_paths_have_probability_zero():
    crf = make("bio", scale=0.1)
    emissions = torch.zeros(1, 3, 3, dtype=torch.float64)
    emissions[0, :, 2] = 50.0  # I-X everywhere would be best
    lengths = torch.tensor([3])
    assert crf.best(emissions, lengths).tolist() == [[1, 2, 2]]
    assert crf.marginals(emissions, lengths)[0, 0, 2] == 0
    free = LinearChainCRF(3).double()
    free.load_state_dict(crf.state_dict())
    assert free.best(emissions, lengths).tolist() == [[2, 2, 2]]


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ([2, 0], "label 1 is 'I-X' and cannot be the first"),
        ([0, 1, 0, 2], "label 4 is 'I-X' and cannot follow 'O'"),
    ],
    ids=str,
)
def test_a_forbidden_gold_path_is_named(path, reason):
    crf = make("bio")
    tags = torch.zeros(2, 5, dtype=torch.int64)
    tags[1, : len(path)] = torch.tensor(path)
    lengths = torch.tensor([5, len(path)])
    message = f"row 2 of the batch: {reason}; correct the labels, or allow all transitions"
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        crf.loss(torch.randn(2, 5, 3, dtype=torch.float64), tags, lengths)
    assert crf.allowed.why_not(path) == reason


def test_an_unclosed_chunk_cannot_end_a_row():
    allowed = allowed_transitions(["O", "B-X", "I-X", "E-X", "S-X"], "bioes")
    assert allowed.why_not([0, 1]) == "label 2 is 'B-X' and cannot be the last"
    assert allowed.why_not([]) is None


@pytest.mark.parametrize(
    ("scheme", "labels"),
    [
        ("bio", ["I-A", "B-B", "O", "B-A", "I-B"]),
        ("bio", ["B", "I", "O"]),
        ("bioes", ["O", "B-A", "I-A", "E-A", "S-A", "E-B", "B-B"]),
    ],
    ids=str,
)
def test_a_scheme_allows_only_well_formed_chunks(scheme, labels):
    allowed = allowed_transitions(labels, scheme)
    for n in (1, 2, 3, 4):
        for path in itertools.product(range(len(labels)), repeat=n):
            well_formed = chunks_are_well_formed([labels[label] for label in path], scheme)
            assert (allowed.why_not(path) is None) == well_formed, path


@pytest.mark.parametrize(
    ("label", "scheme", "expected"),
    [
        ("X-PER", "bio", "B-TYPE, I-TYPE"),
        ("S-PER", "bio", "B-TYPE, I-TYPE"),
        ("O-PER", "bio", "B-TYPE, I-TYPE"),
        ("B-", "bioes", "B-TYPE, I-TYPE, E-TYPE, S-TYPE"),
        ("", "bioes", "B-TYPE, I-TYPE, E-TYPE, S-TYPE"),
    ],
)
def test_a_label_outside_the_scheme_is_refused(label, scheme, expected):
    message = (
        f"'{label}' is not a label of the scheme '{scheme}': expected O or one of {expected}; correct "
        "it, or allow all transitions"
    )
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        allowed_transitions(["O", label], scheme)


def test_invalid_arguments_are_refused():
    with pytest.raises(ConfigError, match=r"^scheme must be one of bio, bioes, bilou, got 'iob'$"):
        allowed_transitions(["O"], "iob")
    with pytest.raises(ConfigError, match=r"^n_labels must be at least 1, got 0$"):
        LinearChainCRF(0)
    message = "^the allowed transitions have 2 labels, but the CRF has 3$"
    with pytest.raises(ConfigError, match=message):
        LinearChainCRF(3, allowed_transitions(["O", "B"], "bio"))
    message = "^no path is allowed for rows of 1 label of B-X, E-X; add the missing labels "
    with pytest.raises(ConfigError, match=message):
        LinearChainCRF(2, allowed_transitions(["B-X", "E-X"], "bioes"))
    crf, lengths = LinearChainCRF(3), torch.tensor([2])
    message = r"^emissions must be \[B, T, 3\], one score per label, got \[1, 2, 5\]$"
    with pytest.raises(ValueError, match=message):
        crf.best(torch.zeros(1, 2, 5), lengths)
    with pytest.raises(ValueError, match=r"^each length must be in 0…2, got "):
        crf.best(torch.zeros(1, 2, 3), torch.tensor([3]))
    message = "^tag out of bounds: the labels are 0 to 2, got 0 to 3$"
    with pytest.raises(IndexError, match=message):
        crf.loss(torch.zeros(1, 2, 3), torch.tensor([[0, 3]]), lengths)


def test_labels_that_never_mix_use_logarithms():
    # Two labels that always alternate: after n steps only one of them is possible.
    allowed = allowed_transitions(["O", "B"], "bio")
    alternating = type(allowed)(
        ("a", "b"),
        torch.tensor([True, True]),
        torch.tensor([[False, True], [True, False]]),
        torch.tensor([True, True]),
    )
    crf = LinearChainCRF(2, alternating).double()
    assert crf._mixing is None
    emissions, tags = torch.randn(1, 4, 2, dtype=torch.float64), torch.tensor([[0, 1, 0, 1]])
    paths = torch.tensor([[0, 1, 0, 1], [1, 0, 1, 0]])
    scores = emissions.expand(2, -1, -1).gather(2, paths.unsqueeze(2)).sum((1, 2))
    log_prob = crf.log_prob(emissions, tags, torch.tensor([4]))
    torch.testing.assert_close(log_prob[0], scores.log_softmax(0)[0])


def test_the_state_dict_has_only_weights():
    assert sorted(make("bio").state_dict()) == ["end_weight", "start_weight", "transition_weight"]


def test_bilou_allows_what_bioes_does():
    names = ["O", "B-A", "I-A", "E-A", "S-A", "E-B", "B-B", "S"]
    letters = str.maketrans("ES", "LU")
    one = allowed_transitions(names, "bioes")
    other = allowed_transitions([name.translate(letters) for name in names], "bilou")
    for part in ("starts", "steps", "ends"):
        assert torch.equal(getattr(one, part), getattr(other, part))
    with pytest.raises(ConfigError, match="'E-A' is not a label of the scheme 'bilou'"):
        allowed_transitions(["O", "E-A"], "bilou")
