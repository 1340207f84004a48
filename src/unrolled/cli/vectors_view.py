"""How training of word vectors is shown: one line in place at a terminal, key=value lines in a log."""

from __future__ import annotations

from rich.console import Console, RenderableType
from rich.text import Text

from unrolled.cli.screen import duration, fitting, key_values, print_parts, shown
from unrolled.vectors.events import Counted, Epoch, Finished, Read, VectorsEvent, VocabularyMade
from unrolled.wording import percent


class VectorsView:
    """A `View` of the events of `fit_vectors`."""

    def __init__(self) -> None:
        self._last: VectorsEvent | None = None

    def take(self, event: VectorsEvent) -> None:
        """See `View`."""
        self._last = event

    def is_passing(self, event: VectorsEvent) -> bool:
        """See `View`; the last epoch is not passing."""
        is_last = isinstance(event, Epoch) and event.epoch == event.n_epochs
        return isinstance(event, Read | Counted | Epoch) and not is_last

    def print(self, event: VectorsEvent, console: Console) -> None:
        """See `View`."""
        if isinstance(event, VocabularyMade | Finished):
            print_parts(console, _parts(event))

    def living(self, console: Console) -> RenderableType:
        """See `View`."""
        if not isinstance(self._last, Read | Counted | Epoch):
            return Text("")
        line = shown(fitting(_parts(self._last), console.width), console)
        return Text(line, no_wrap=True, overflow="crop")

    def log(self, event: VectorsEvent) -> list[str]:
        """See `View`."""
        match event:
            case Read():
                values: dict[str, object] = {
                    "words": event.n_tokens,
                    "words_per_second": round(event.tokens_per_second),
                    "done": round(event.fraction_done, 4),
                }
                return [key_values("read", values)]
            case VocabularyMade():
                values = {
                    "words": event.n_tokens,
                    "different": event.n_different,
                    "vocabulary": event.n_words,
                    "covered": event.n_kept / max(1, event.n_tokens),
                }
                return [key_values("vocabulary", values)]
            case Counted():
                values = {
                    "words": event.n_tokens,
                    "pairs": event.n_nonzeros,
                    "words_per_second": round(event.tokens_per_second),
                    "done": round(event.fraction_done, 4),
                }
                return [key_values("counted", values)]
            case Epoch():
                values = {
                    "epoch": event.epoch,
                    "epochs": event.n_epochs,
                    "loss": event.loss,
                    "pairs_per_second": round(event.pairs_per_second),
                    "seconds_left": round(event.eta_seconds),
                }
                return [key_values("epoch", values)]
            case Finished():
                values = {
                    "folder": event.folder,
                    "vectors": event.n_words,
                    "size": event.size,
                    "loss": event.loss,
                    "seconds": round(event.seconds, 1),
                }
                return [key_values("end", values)]


def _parts(event: VectorsEvent) -> list[str]:
    """An event in words."""
    match event:
        case Read():
            return [
                f"reading: {percent(event.fraction_done, 0)}",
                f"{event.n_tokens:,} words",
                f"{event.tokens_per_second:,.0f} words/s",
            ]
        case VocabularyMade():
            share = event.n_kept / max(1, event.n_tokens)
            return [
                f"{event.n_tokens:,} words, {event.n_different:,} different",
                f"vocabulary {event.n_words:,}, covering {percent(share)} of the text",
            ]
        case Counted():
            return [
                f"counting: {percent(event.fraction_done, 0)}",
                f"{event.n_tokens:,} words",
                f"{event.n_nonzeros:,} pairs",
                f"{event.tokens_per_second:,.0f} words/s",
            ]
        case Epoch():
            return [
                f"epoch {event.epoch} of {event.n_epochs}",
                f"loss {event.loss:.6f}",
                f"{duration(event.eta_seconds)} left",
                f"{event.pairs_per_second / 1e6:.1f} M pairs/s",
                f"{event.seconds:.2f} s per epoch",
            ]
        case Finished():
            return [
                f"{event.folder}: {event.n_words:,} vectors of {event.size}",
                f"loss {event.loss:.6f}",
                duration(event.seconds),
            ]
