"""Compare the training speed of a language model with the same model in plain PyTorch.

    python benchmarks/language.py [--seconds 8]

Plain PyTorch uses `torch.nn` layers, `nn.Linear` and `nn.CrossEntropyLoss`; ours uses the model and loss
of `unrolled.tasks.language_model`. Both compute the forward and backward pass over one window with a
carried state, in alternation; the optimizer is the same and left out. Loss and gradients must agree
before anything is measured.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time

import numpy as np
import torch
from torch import Tensor

from unrolled.tasks import language_model
from unrolled.tasks.language_model import LanguageModel, LanguageModelConfig
from unrolled.text.corpus.windows import Windows

#        name      B   T    V       E    H
SIZES = [
    ("chars", 64, 64, 65, 128, 128),
    ("chars", 64, 64, 65, 128, 256),
    ("chars", 64, 64, 65, 128, 650),
    ("words", 20, 35, 33_278, 200, 200),
    ("words", 20, 35, 33_278, 650, 650),
]


class Plain(torch.nn.Module):
    def __init__(self, ours: LanguageModel, kind: str, n_words: int, E: int, H: int) -> None:
        super().__init__()
        self.embedding = torch.nn.Embedding(n_words, E)
        self.layers = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU}[kind](E, H, batch_first=True)
        self.output = torch.nn.Linear(H, n_words)
        self.criterion = torch.nn.CrossEntropyLoss(reduction="sum")
        with torch.no_grad():
            self.embedding.weight.copy_(ours.embedding.weight)
            for name, parameter in self.layers.named_parameters():
                parameter.copy_(dict(ours.layers.layers[0].named_parameters())[name])
            self.output.load_state_dict(ours.head.state_dict())

    def loss(self, x: Tensor, y: Tensor, state):
        hidden, state = self.layers(self.embedding(x), state)
        return self.criterion(self.output(hidden).flatten(0, 1), y.flatten()), state


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--seconds", type=float, default=8.0, help="measurement time for each line of the table"
    )
    parser.add_argument(
        "--sizes",
        nargs="+",
        choices=["chars", "words"],
        default=["chars", "words"],
        help="sizes of models to measure",
    )
    arguments = parser.parse_args()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    print("                B   T       V    E    H     plain     ours  ratio (tokens/s)")
    for name, B, T, V, E, H in SIZES:
        if name not in arguments.sizes:
            continue
        for kind in ("lstm", "gru"):
            torch.manual_seed(1)
            config = LanguageModelConfig(cell=kind, embedding_size=E, hidden_size=H)
            ours = LanguageModel(config, V)
            plain = Plain(ours, kind, V, E, H)
            ids = np.random.default_rng(1).integers(4, V, B * T + 1, np.uint32)
            batch = language_model.collate(Windows(ids, B, T)[0])
            state = ours.start(B)

            def of_ours(ours=ours, batch=batch, state=state) -> float:
                ours.zero_grad(set_to_none=True)
                total, _, _ = language_model.loss(ours, batch, state)
                total.backward()
                return float(total.detach())

            def of_plain(plain=plain, batch=batch) -> float:
                plain.zero_grad(set_to_none=True)
                total, _ = plain.loss(batch.inputs, batch.targets, None)
                total.backward()
                return float(total.detach())

            a, b = of_plain(), of_ours()
            pairs = [
                (plain.output.weight.grad, ours.head.weight.grad),
                (plain.embedding.weight.grad[4:], ours.embedding.weight.grad[4:]),
                (plain.layers.weight_hh_l0.grad, ours.layers.layers[0].weight_hh_l0.grad),
            ]
            worst = max(float((p - o).abs().max() / p.abs().max()) for p, o in pairs)
            if abs(a - b) > 1e-4 * abs(a) or worst > 1e-4:
                sys.exit(
                    f"the models disagree: losses are {a} and {b}, gradients differ by {worst:.1e}"
                )
            samples: list[list[float]] = [[], []]
            end = time.perf_counter() + arguments.seconds
            while time.perf_counter() < end or len(samples[0]) < 5:
                for run, run_samples in zip((of_plain, of_ours), samples, strict=True):
                    tick = time.perf_counter()
                    run()
                    run_samples.append(time.perf_counter() - tick)
            theirs, mine = (B * T / statistics.median(run_samples) for run_samples in samples)
            print(
                f"{name:6} {kind:5} {B:4} {T:3} {V:7} {E:4} {H:4}  {theirs:8,.0f} {mine:8,.0f}  "
                f"{mine / theirs:.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
