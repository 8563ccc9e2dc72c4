"""Conditions and values over the columns of tables, as users write them."""
