"""Compare the training speed of a classifier with the same model in plain PyTorch, or in Keras.

    python benchmarks/labels.py [--threads 2] [--rounds 9]
    pip install keras && KERAS_BACKEND=torch python benchmarks/labels.py --keras [--rounds 3]

Both models have the same weights, batches and optimizer (fused Adam). They run in alternating rounds, and
the median of the rounds is reported. Plain PyTorch uses packed sequences. Text lengths are like those of
questions (TREC: 3 to 30 tokens) and of film reviews (IMDB: 50 to 400). Batches consist of texts of
similar length, as in training: 512 tokens for questions (about 50 of them), and 4,096 for both. Loss and
gradients must agree before anything is measured. With `--keras`, the comparison is with Keras 3 on its
PyTorch backend, with masked padding and `train_on_batch`; both models then use the final states, and only
the losses are compared.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from statistics import median
from typing import Any, Literal

import numpy as np
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from unrolled.tasks import text_labels
from unrolled.tasks.classify import TASK, Classifier, ClassifyConfig
from unrolled.tasks.text_labels import LabelledExample
from unrolled.text.batching import batches

V, C = 15_000, 6
SETTINGS = (
    ("TREC", 1_000, 3, 30, 512),
    ("TREC", 1_500, 3, 30, 4_096),
    ("IMDB", 160, 50, 400, 4_096),
)
Cell = Literal["rnn", "gru", "lstm"]
KINDS: dict[Cell, Callable[..., nn.RNNBase]] = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}


class Plain(nn.Module):
    """The model as in a tutorial."""

    def __init__(self, config: ClassifyConfig) -> None:
        super().__init__()
        self.embedding = nn.Embedding(V, config.embedding_size, padding_idx=0)
        self.recurrent = KINDS[config.cell](
            config.embedding_size, config.hidden_size, batch_first=True, bidirectional=True
        )
        self.linear = nn.Linear(2 * config.hidden_size, C)

    def forward(self, ids: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        packed = pack_padded_sequence(
            self.embedding(ids), lengths, batch_first=True, enforce_sorted=False
        )
        y, _ = pad_packed_sequence(
            self.recurrent(packed)[0], batch_first=True, padding_value=-torch.inf
        )
        return self.linear(y.amax(1))


def same_weights(plain: Plain, ours: Classifier) -> None:
    with torch.no_grad():
        plain.embedding.weight.copy_(ours.embedding.weight)
        for name, weight in plain.recurrent.named_parameters():
            weight.copy_(getattr(ours.encoder.recurrent, name))
        plain.linear.load_state_dict(ours.head.scorer.state_dict())


def made(n_rows: int, shortest: int, longest: int, max_tokens: int) -> list[text_labels.LabelBatch]:
    """Batches of random texts with a realistic distribution of lengths."""
    random = np.random.default_rng(1)
    lengths = shortest + (longest - shortest) * random.beta(1.5, 3.5, n_rows)
    examples = [
        LabelledExample((random.integers(4, V, int(n)).tolist(),), (int(random.integers(C)),))
        for n in lengths
    ]
    sizes = [TASK.lengths(example) for example in examples]
    return [
        TASK.collate([examples[row] for row in rows]) for rows in batches(sizes, max_tokens, seed=1)
    ]


def check(plain: Plain, ours: Classifier, batch: text_labels.LabelBatch) -> None:
    """Raise an error if the loss or a gradient differs."""
    (text,) = batch.texts
    loss, _ = TASK.loss(ours, batch)
    logits = plain(text.values, text.lengths)
    other = nn.functional.cross_entropy(logits, batch.targets[:, 0], reduction="sum")
    torch.testing.assert_close(loss, other, rtol=1e-4, atol=1e-4)
    our_gradients = torch.autograd.grad(
        loss, [ours.embedding.weight, *ours.encoder.parameters(), *ours.head.parameters()]
    )
    expected_gradients = torch.autograd.grad(other, list(plain.parameters()))
    for actual, expected in zip(our_gradients, expected_gradients, strict=True):
        atol = 1e-3 * float(expected.abs().max())
        torch.testing.assert_close(actual, expected, rtol=1e-3, atol=atol)


def keras_model(ours: Classifier) -> Any:
    """The same model in Keras with our weights, compiled with Adam."""
    import keras

    if keras.backend.backend() != "torch":
        raise SystemExit("the Keras backend must be torch; set KERAS_BACKEND=torch")
    config = ours.config
    lstm = keras.layers.LSTM(config.hidden_size)
    model = keras.Sequential(
        [
            keras.layers.Embedding(V, config.embedding_size, mask_zero=True),
            keras.layers.Bidirectional(lstm),
            keras.layers.Dense(C),
        ]
    )
    model.build((None, None))
    weights = dict(ours.encoder.recurrent.named_parameters())
    of_cells = []
    for end in ("", "_reverse"):
        both = weights[f"bias_ih_l0{end}"] + weights[f"bias_hh_l0{end}"]
        of_cells += [weights[f"weight_ih_l0{end}"].T, weights[f"weight_hh_l0{end}"].T, both]
    scorer = ours.head.scorer
    all_weights = [ours.embedding.weight, *of_cells, scorer.weight.T, scorer.bias]
    model.set_weights([weight.detach().numpy() for weight in all_weights])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer=keras.optimizers.Adam(1e-3), loss=loss)
    return model


def seconds_of(step, all_batches) -> float:
    start = time.perf_counter()
    for batch in all_batches:
        step(batch)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=9, help="number of alternating rounds")
    parser.add_argument("--keras", action="store_true", help="compare with Keras 3")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    other = "plain PyTorch"
    if arguments.keras:
        import keras

        other = f"Keras {keras.__version__}"
    print(
        f"torch {torch.__version__}, {arguments.threads} threads; sentences/s, median of "
        f"{arguments.rounds} alternating rounds\n"
    )
    print(
        f"| lengths | tokens | cell | H | {other} | ours | ratio |\n|---|---|---|---|---|---|---|"
    )
    for name, n_rows, shortest, longest, max_tokens in SETTINGS:
        all_batches = made(n_rows, shortest, longest, max_tokens)
        for cell in KINDS:
            if arguments.keras and cell != "lstm":
                continue
            for H in (64, 128, 256):
                torch.manual_seed(1)
                config = ClassifyConfig(
                    cell=cell,
                    embedding_size=100,
                    hidden_size=H,
                    dropout_rate=0.0,
                    pooling="final" if arguments.keras else "max",
                )
                ours = Classifier(config, V, C)
                step = keras_step if arguments.keras else plain_step
                cells = measured(ours, step(ours, all_batches[0]), all_batches, n_rows, arguments)
                print(f"| {name} | {max_tokens} | {cell} | {H} | {cells}", flush=True)


Step = Callable[[text_labels.LabelBatch], None]


def plain_step(ours: Classifier, batch: text_labels.LabelBatch) -> Step:
    """A training step of plain PyTorch; its loss and gradients are compared with ours first."""
    plain = Plain(ours.config)
    same_weights(plain, ours)
    check(plain, ours, batch)
    adam = torch.optim.Adam(plain.parameters(), fused=True)

    def step(batch: text_labels.LabelBatch) -> None:
        (text,) = batch.texts
        logits = plain(text.values, text.lengths)
        nn.functional.cross_entropy(logits, batch.targets[:, 0]).backward()
        adam.step()
        adam.zero_grad(set_to_none=True)

    return step


def keras_step(ours: Classifier, batch: text_labels.LabelBatch) -> Step:
    """A training step of Keras; its loss is compared with ours first."""
    model = keras_model(ours)
    loss, count = TASK.loss(ours, batch)
    ids, targets = batch.texts[0].values, batch.targets[:, 0]
    other = float(model.test_on_batch(ids.numpy(), targets.numpy()))
    if abs(other - float(loss.detach()) / count) > 1e-4:
        raise SystemExit(f"the losses differ: Keras {other}, ours {float(loss.detach()) / count}")

    def step(batch: text_labels.LabelBatch) -> None:
        model.train_on_batch(batch.texts[0].values.numpy(), batch.targets[:, 0].numpy())

    return step


def measured(ours: Classifier, other_step: Step, all_batches, n_rows: int, arguments) -> str:
    adam = torch.optim.Adam(ours.parameters(), fused=True)

    def our_step(batch: text_labels.LabelBatch) -> None:
        loss, count = TASK.loss(ours, batch)
        (loss / count).backward()
        adam.step()
        adam.zero_grad(set_to_none=True)

    times: tuple[list[float], list[float]] = ([], [])
    for step in (other_step, our_step):
        seconds_of(step, all_batches[:2])
    for _ in range(arguments.rounds):
        times[0].append(seconds_of(other_step, all_batches))
        times[1].append(seconds_of(our_step, all_batches))
    rates = [n_rows / median(seconds) for seconds in times]
    ratio = median(a / b for a, b in zip(*times, strict=True))
    return f"{rates[0]:,.0f} | {rates[1]:,.0f} | {ratio:.2f} |"


if __name__ == "__main__":
    main()
