"""Data-Juicer: the operator ``pairsift_filter``, in a file that a recipe refers to.

``python -m pairsift.integrations.data_juicer`` prints the path for ``custom_operator_paths``.
"""

from pathlib import Path

OPERATOR_PATH = str(Path(__file__).with_name("pairsift_filter.py"))
