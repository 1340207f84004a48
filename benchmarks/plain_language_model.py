"""A word language model in plain PyTorch, as in a tutorial, for comparison with ours.

    python benchmarks/plain_language_model.py --data wikitext2/ --minutes 25

It has the architecture and settings of PyTorch's word-language-model example: embeddings and two LSTM
layers of width 200, tied weights, dropout 0.2, batches of 20 rows, windows of 35 tokens, plain SGD with a
learning rate of 20, divided by 4 whenever the validation loss does not improve, and gradient clipping at
0.25. It uses `torch.nn` and `nn.CrossEntropyLoss`. The validation text is evaluated in ten rows, as ours
is during training; the test text in one row, as by `unrolled evaluate`.
"""

from __future__ import annotations

import argparse
import gzip
import math
import time
from pathlib import Path

import torch
from torch import Tensor, nn


class WordModel(nn.Module):
    def __init__(self, n_words: int, size: int, n_layers: int, dropout_rate: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout_rate)
        self.embedding = nn.Embedding(n_words, size)
        self.lstm = nn.LSTM(size, size, n_layers, dropout=dropout_rate)
        self.output = nn.Linear(size, n_words)
        self.output.weight = self.embedding.weight
        nn.init.uniform_(self.embedding.weight, -0.1, 0.1)
        nn.init.zeros_(self.output.bias)

    def forward(self, ids_TB: Tensor, state):
        y_TBH, state = self.lstm(self.dropout(self.embedding(ids_TB)), state)
        return self.output(self.dropout(y_TBH)).flatten(0, 1), state


def ids_of(path: Path, vocabulary: dict[str, int], grows: bool) -> Tensor:
    """Ids of all words, with a token for the end of each line."""
    ids = []
    raw = path.read_bytes()
    text = (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode("utf-8")
    for line in text.split("\n")[:-1]:
        for word in (*line.split(), "<eos>"):
            if grows:
                vocabulary.setdefault(word, len(vocabulary))
            ids.append(vocabulary[word])
    return torch.tensor(ids)


def in_rows(ids: Tensor, n_rows: int) -> Tensor:
    n_steps = len(ids) // n_rows
    return ids[: n_steps * n_rows].view(n_rows, n_steps).t().contiguous()


@torch.inference_mode()
def evaluate(model: WordModel, ids: Tensor, n_rows: int = 10, window: int = 35) -> float:
    model.eval()
    text, state, total, count = in_rows(ids, n_rows), None, 0.0, 0
    for start in range(0, len(text) - 1, window):
        x, y = text[start : start + window], text[start + 1 : start + 1 + window]
        logits, state = model(x[: len(y)], state)
        total += float(nn.functional.cross_entropy(logits, y.flatten(), reduction="sum"))
        count += y.numel()
    return total / count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--data", type=Path, required=True, help="folder with the token files of WikiText-2"
    )
    parser.add_argument("--minutes", type=float, default=25.0, help="training time")
    parser.add_argument(
        "--size", type=int, default=200, help="width of the embeddings and LSTM layers"
    )
    parser.add_argument("--rows", type=int, default=20, help="batch size")
    parser.add_argument("--window", type=int, default=35, help="tokens per truncated-BPTT window")
    parser.add_argument("--rate", type=float, default=20.0, help="initial learning rate")
    parser.add_argument("--seed", type=int, default=1111)
    arguments = parser.parse_args()
    torch.manual_seed(arguments.seed)
    vocabulary: dict[str, int] = {}
    files = {part: next(arguments.data.glob(f"*{part}*")) for part in ("train", "valid", "test")}
    train = ids_of(files["train"], vocabulary, grows=True)
    valid = ids_of(files["valid"], vocabulary, grows=True)
    test = ids_of(files["test"], vocabulary, grows=True)
    model = WordModel(len(vocabulary), arguments.size, 2, 0.2)
    criterion = nn.CrossEntropyLoss()
    text, rate, best = in_rows(train, arguments.rows), arguments.rate, math.inf
    began, n_tokens, update_seconds, best_weights = time.perf_counter(), 0, 0.0, None
    ended = False
    while not ended:
        state = None
        for start in range(0, len(text) - 1, arguments.window):
            tick = time.perf_counter()
            model.train()
            x, y = text[start : start + arguments.window], text[start + 1 :][: arguments.window]
            x = x[: len(y)]
            if state is not None:
                state = tuple(part.detach() for part in state)
            model.zero_grad()
            logits, state = model(x, state)
            criterion(logits, y.flatten()).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 0.25)
            with torch.no_grad():
                for parameter in model.parameters():
                    assert parameter.grad is not None
                    parameter.add_(parameter.grad, alpha=-rate)
            n_tokens += y.numel()
            update_seconds += time.perf_counter() - tick
            if time.perf_counter() - began > 60 * arguments.minutes:
                ended = True
                break
        loss = evaluate(model, valid)
        minutes = (time.perf_counter() - began) / 60
        print(
            f"{minutes:5.1f} min  {n_tokens / len(train):.2f} epochs  "
            f"{n_tokens / update_seconds:,.0f} tokens/s  learning rate {rate}  "
            f"validation perplexity {math.exp(loss):.1f}",
            flush=True,
        )
        if loss < best:
            best, best_weights = loss, {k: v.clone() for k, v in model.state_dict().items()}
        else:
            rate /= 4
    if best_weights is not None:
        model.load_state_dict(best_weights)
    print(
        f"best validation perplexity {math.exp(best):.1f}, test perplexity "
        f"{math.exp(evaluate(model, test, 1)):.1f}"
    )


if __name__ == "__main__":
    main()
