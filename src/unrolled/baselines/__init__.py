"""What can be had without reading in order: baselines that count words, to stand beside every report.

Fitted with scikit-learn (`pip install 'unrolled[baselines]'`); saved as JSON and safetensors, and read
back and used with NumPy alone.
"""

from unrolled.baselines.config import BaselineConfig
from unrolled.baselines.fit import FittedBaseline, Labelled, fit_baselines
from unrolled.baselines.model import Baseline
from unrolled.baselines.tagging import Tagged, TaggingBaseline, fit_tagging_baselines, load_baseline

__all__ = [
    "Baseline",
    "BaselineConfig",
    "FittedBaseline",
    "Labelled",
    "Tagged",
    "TaggingBaseline",
    "fit_baselines",
    "fit_tagging_baselines",
    "load_baseline",
]
