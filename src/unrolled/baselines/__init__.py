"""Bag-of-n-grams baselines, which ignore word order, for comparison in every report.

They are fitted with scikit-learn (`pip install 'unrolled[baselines]'`) and saved as JSON and safetensors;
loading and applying them only needs NumPy.
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
