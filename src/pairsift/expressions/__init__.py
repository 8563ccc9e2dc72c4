"""Conditions and values that users write over the columns of tables."""
