"""A classifier's training step beside the same model in plain PyTorch, with packed sequences.

    python benchmarks/labels.py [--threads 2] [--rounds 9]

The same weights, the same batches, the same optimiser (fused Adam); alternating, median of the rounds.
Lengths are those of questions (TREC: 3 to 30 tokens) and of film reviews (IMDB: 50 to 400); batches are
made as the toolkit makes them, of rows of like length, up to 4,096 tokens. Nothing is printed before loss
and gradients of both agree.
"""

from __future__ import annotations

import argparse
import time
from statistics import median

import numpy as np
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from unrolled.tasks import labelled
from unrolled.tasks.classify import TASK, Classifier, ClassifyConfig
from unrolled.tasks.labelled import LabelledExample
from unrolled.text.batches import batches

V, C = 15_000, 6
KINDS = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}


class Plain(nn.Module):
    """What a tutorial writes."""

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


def made(n_rows: int, shortest: int, longest: int, max_tokens: int) -> list[labelled.LabelBatch]:
    """Batches of random texts whose lengths fall off as those of real ones do."""
    random = np.random.default_rng(1)
    lengths = shortest + (longest - shortest) * random.beta(1.5, 3.5, n_rows)
    examples = [
        LabelledExample((random.integers(4, V, int(n)).tolist(),), (int(random.integers(C)),))
        for n in lengths
    ]
    sizes = [TASK.lengths(each) for each in examples]
    return [
        TASK.collate([examples[row] for row in rows]) for rows in batches(sizes, max_tokens, seed=1)
    ]


def check(plain: Plain, ours: Classifier, batch: labelled.LabelBatch) -> None:
    """Stop where loss or a gradient differs."""
    (text,) = batch.texts
    loss, _ = TASK.loss(ours, batch)
    logits = plain(text.values, text.lengths)
    other = nn.functional.cross_entropy(logits, batch.targets[:, 0], reduction="sum")
    torch.testing.assert_close(loss, other, rtol=1e-4, atol=1e-4)
    found = torch.autograd.grad(
        loss, [ours.embedding.weight, *ours.encoder.parameters(), *ours.head.parameters()]
    )
    wanted = torch.autograd.grad(other, list(plain.parameters()))
    for one, two in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-3, atol=1e-3 * float(two.abs().max()))


def seconds_of(step, all_batches) -> float:
    start = time.perf_counter()
    for batch in all_batches:
        step(batch)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=9)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(
        f"torch {torch.__version__}, {arguments.threads} threads; sentences/s, median of "
        f"{arguments.rounds} alternating rounds\n"
    )
    print("| lengths | cell | H | plain PyTorch | ours | ratio |\n|---|---|---|---|---|---|")
    for name, n_rows, shortest, longest in (("TREC", 1_500, 3, 30), ("IMDB", 160, 50, 400)):
        all_batches = made(n_rows, shortest, longest, 4_096)
        for cell in KINDS:
            for H in (64, 128, 256):
                config = ClassifyConfig(
                    cell=cell, embedding_size=100, hidden_size=H, dropout_rate=0.0
                )
                print(
                    f"| {name} | {cell} | {H} | "
                    + measured(config, all_batches, n_rows, arguments.rounds),
                    flush=True,
                )


def measured(config: ClassifyConfig, all_batches, n_rows: int, rounds: int) -> str:
    torch.manual_seed(1)
    ours, plain = Classifier(config, V, C), Plain(config)
    same_weights(plain, ours)
    check(plain, ours, all_batches[0])
    adams = [torch.optim.Adam(model.parameters(), fused=True) for model in (plain, ours)]

    def plain_step(batch) -> None:
        (text,) = batch.texts
        logits = plain(text.values, text.lengths)
        nn.functional.cross_entropy(logits, batch.targets[:, 0]).backward()
        adams[0].step()
        adams[0].zero_grad(set_to_none=True)

    def our_step(batch) -> None:
        loss, count = TASK.loss(ours, batch)
        (loss / count).backward()
        adams[1].step()
        adams[1].zero_grad(set_to_none=True)

    times: tuple[list[float], list[float]] = ([], [])
    for step in (plain_step, our_step):
        seconds_of(step, all_batches[:2])
    for _ in range(rounds):
        times[0].append(seconds_of(plain_step, all_batches))
        times[1].append(seconds_of(our_step, all_batches))
    rates = [n_rows / median(each) for each in times]
    ratio = median(a / b for a, b in zip(*times, strict=True))
    return f"{rates[0]:,.0f} | {rates[1]:,.0f} | {ratio:.2f} |"


if __name__ == "__main__":
    main()
