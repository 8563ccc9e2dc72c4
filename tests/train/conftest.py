from __future__ import annotations

import pytest


@pytest.fixture(scope="package", autouse=True)
def threads(one_thread: None) -> None:
    """One thread for all tests of this package."""
