"""Graphs in ONNX Runtime that stand in for the models of tasks that predict labels; see `runtime`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from unrolled.exports.runtime import ExportedModel, Session, ids_of
from unrolled.layers.alignment import in_common
from unrolled.layers.characters import Spellings
from unrolled.layers.crf import LinearChainCRF
from unrolled.layers.mixed_head import counts, label_head
from unrolled.shapes import Float, Padded
from unrolled.tasks.tag.data import TagBatch
from unrolled.text.config import PAD_ID


class ExportedClassifier(ExportedModel):
    """`Classifier` and `PairClassifier`.

    A text is a row of numbers for each token, `[B, T, F]`: its id; for overlap, 1 if the other text has
    it, too; and the ids of its characters.

    Args:
        config, sessions, n_parameters: as for `ExportedModel`.
        reads: which texts the graph reads: "text"; "first" or "second" (one of two); "joined" or
            "reversed" (two as one, the first or the second at the beginning); or "both".
        attends: whose attention weights it returns: 0 for the first text, 1 for the second, -1 for none.
        thresholds: `[C]`.
        is_known: `[V]`, False for tokens that training has not seen.
        multi_label: as for `LabelHead`.
        counted_bias: as for `MixedHead`; None if no n-grams are counted.
        share: of counted n-grams in the scores.
        part_thresholds: as for `MixedHead`.
    """

    def __init__(
        self,
        config: Any,
        sessions: Mapping[str, Session],
        n_parameters: int,
        *,
        reads: str,
        attends: int,
        thresholds: Sequence[float],
        is_known: Tensor,
        multi_label: bool,
        counted_bias: Any = None,
        share: float = 0.0,
        part_thresholds: Sequence[Sequence[float]] = (),
    ) -> None:
        super().__init__(config, sessions, n_parameters)
        self.reads, self.attends = reads, attends
        n_labels = len(thresholds)
        head: Any = label_head(
            config,
            nn.Identity(),
            n_labels,
            n_labels,
            multi_label=multi_label,
            counted_bias=counted_bias,
        )
        head.thresholds.copy_(torch.tensor(thresholds, dtype=torch.float64))
        if counts(config):
            head.share.fill_(share)
            head.part_thresholds.copy_(torch.tensor(part_thresholds, dtype=torch.float64))
        self.head = head
        self.embedding = nn.Embedding(len(is_known), 1, _weight=is_known.float().unsqueeze(1))
        self.sides = {"first": slice(0, 1), "second": slice(1, 2)}.get(reads, slice(None))
        self._has_common = "overlap" in getattr(config, "features", ())
        self._spells = config.characters != "none"

    def embedded(self, batch: Any) -> list[Padded]:
        """What the graph reads of the texts of a `LabelBatch`, which it embeds."""
        columns = [[text.values.unsqueeze(2)] for text in batch.texts]
        if self._has_common:
            for own, common_BT in zip(columns, in_common(*batch.texts), strict=True):
                own.append(common_BT.unsqueeze(2))
        if self._spells:
            spellings: Spellings = batch.beside.spellings
            letters_WK = ids_of(spellings.letters)
            for own, places_BT in zip(columns, spellings.places, strict=True):
                if len(letters_WK):
                    own.append(letters_WK[places_BT])
                else:
                    own.append(places_BT.unsqueeze(2))  # no text has a word
        return [
            Padded(torch.cat([each.float() for each in own], dim=2), text.lengths)
            for own, text in zip(columns, batch.texts, strict=True)
        ]

    def read(self, *texts: Padded) -> tuple[Float[Tensor, "B C"], tuple[Tensor | None, ...]]:
        """The scores of the labels, and the attention weights of the tokens of each text."""
        run = self.sessions["model.onnx"]
        if self.reads == "both":
            inputs = self._inputs("first", texts[0]) | self._inputs("second", texts[1])
        else:
            chosen = texts[self.sides][:: -1 if self.reads == "reversed" else 1]
            text = chosen[0] if len(chosen) == 1 else _one_after_the_other(*chosen)
            inputs = self._inputs("text", text)
        found = run(**inputs)
        weights: list[Tensor | None] = [None] * len(texts)
        if self.attends >= 0:
            weights[self.attends] = found["attention"]
        return found["logits"], tuple(weights)

    def _inputs(self, name: str, text: Padded) -> dict[str, Tensor]:
        values = torch.where(text.mask.unsqueeze(2), text.values, float(PAD_ID))
        if not values.shape[1]:
            values = values.new_full((len(values), 1, values.shape[2]), float(PAD_ID))
        inputs = {name: values[:, :, 0].long()}
        if self._has_common:
            inputs[f"{name}_common"] = values[:, :, 1].float()
        if self._spells:
            inputs[f"{name}_letters"] = values[:, :, 1 + self._has_common :].long()
        return inputs


def _one_after_the_other(first: Padded, second: Padded) -> Padded:
    rows = [
        torch.cat([a[:m], b[:n]])
        for a, m, b, n in zip(
            first.values,
            first.lengths.tolist(),
            second.values,
            second.lengths.tolist(),
            strict=True,
        )
    ]
    return Padded(pad_sequence(rows, batch_first=True), first.lengths + second.lengths)


class ExportedTagger(ExportedModel):
    """`Tagger`.

    Args:
        config, sessions, n_parameters: as for `ExportedModel`.
        crf: the CRF, without its weights, which the graph has; None without one.
    """

    def __init__(
        self,
        config: Any,
        sessions: Mapping[str, Session],
        n_parameters: int,
        *,
        crf: LinearChainCRF | None,
    ) -> None:
        super().__init__(config, sessions, n_parameters)
        self.crf = crf
        self.seen_once = torch.zeros(0)
        if crf is not None:
            one = torch.ones(1, 1, dtype=torch.int64)
            found = self._run(one, one.unsqueeze(2))
            with torch.no_grad():
                crf.start_weight.copy_(found["start"])
                crf.transition_weight.copy_(found["transition"])
                crf.end_weight.copy_(found["end"])

    def _run(self, words_PT: Tensor, letters_PTK: Tensor) -> dict[str, Tensor]:
        run = self.sessions["model.onnx"]
        inputs = {"words": words_PT, "letters": letters_PTK}
        return run(**{name: value for name, value in inputs.items() if name in run.inputs})

    def forward(self, batch: TagBatch) -> Float[Tensor, "N C"]:
        """The scores of the tags of each token, sentence by sentence."""
        words, spellings = batch.words, batch.spellings
        ids_PT, mask_PT = ids_of(words), words.mask
        letters_WK = ids_of(spellings)
        letters_PTK = letters_WK.new_full((*ids_PT.shape, letters_WK.shape[1]), PAD_ID)
        if len(letters_WK) and mask_PT.shape[1]:
            letters_PTK = torch.where(mask_PT.unsqueeze(2), letters_WK[batch.places], PAD_ID)
        logits_PTC = self._run(ids_PT, letters_PTK)["logits"]
        return logits_PTC[:, : mask_PT.shape[1]][mask_PT]
