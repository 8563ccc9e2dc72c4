"""Print the path that a Data-Juicer recipe needs to find the operator."""

from pairsift.integrations.data_juicer import OPERATOR_PATH

print(OPERATOR_PATH)
