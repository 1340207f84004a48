"""Translation: an encoder–decoder with attention, trained on parallel text.

Bahdanau, Cho & Bengio 2015 (additive attention); Luong, Pham & Manning 2015 (multiplicative attention,
input feeding). The model is in `tasks.seq2seq`; translation only adds its scores.
"""

from __future__ import annotations

from unrolled.metrics import translation
from unrolled.tasks import seq2seq
from unrolled.tasks.task import Task

TASK = Task(
    name="translate",
    columns=("source", "target"),
    Config=seq2seq.TranslateConfig,
    train_tokenizers=seq2seq.train_tokenizers,
    encode=seq2seq.encode,
    lengths=seq2seq.lengths,
    collate=seq2seq.collate,
    build=seq2seq.build,
    loss=seq2seq.loss,
    evaluate_loss=seq2seq.evaluate_loss,
    decode=seq2seq.decode,
    score=translation.score,
    signature=translation.signature,
    load_pretrained=seq2seq.load_pretrained,
    check_pretrained=seq2seq.check_pretrained,
    prepare=seq2seq.prepare,
    training_only=seq2seq.TRAINING_ONLY,
)
