"""Train gensim's word2vec on the same text, to compare its vectors with ours.

    pip install gensim        # in a separate environment
    python benchmarks/word2vec.py TEXT FOLDER [--size 100] [--epochs 5] [--window 10] [--min-count 5]
    unrolled vectors evaluate FOLDER/cbow.bin SETS        # and FOLDER/skip-gram.bin

The text file has words separated by spaces; gensim reads it with several threads (`corpus_file`), which
is its fastest method. All other settings are its defaults: five negative samples, learning rate 0.025,
frequent words subsampled at 10⁻³. gensim splits lines of more than 10,000 words.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("text", type=Path, help="text file, words separated by spaces")
    parser.add_argument("folder", type=Path, help="output folder")
    parser.add_argument("--size", type=int, default=100, help="width of a vector")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--window", type=int, default=10)
    parser.add_argument("--min-count", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()

    import resource  # not on Windows

    from gensim import __version__
    from gensim.models import Word2Vec

    arguments.folder.mkdir(parents=True, exist_ok=True)
    print(f"gensim {__version__}, {arguments.threads} threads, {arguments.epochs} epochs")
    for name, sg in (("cbow", 0), ("skip-gram", 1)):
        start = time.perf_counter()
        model = Word2Vec(
            corpus_file=str(arguments.text),
            vector_size=arguments.size,
            window=arguments.window,
            min_count=arguments.min_count,
            epochs=arguments.epochs,
            workers=arguments.threads,
            seed=arguments.seed,
            sg=sg,
        )
        seconds = time.perf_counter() - start
        file = arguments.folder / f"{name}.bin"
        model.wv.save_word2vec_format(str(file), binary=True)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
        print(
            f"{file}: {len(model.wv):,} words, {seconds:.1f} s, peak memory {peak:,.0f} MB",
            flush=True,
        )


if __name__ == "__main__":
    main()
