"""Write docs/reference/models.md from the results of the sweep.

python -m tests.models.page
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.models.reasons import REASONS

HERE = Path(__file__).parent
RESULTS = HERE / "results.json"
PAGE = HERE.parents[1] / "docs" / "reference" / "models.md"

_HEAD = """# Models

Which models of the Hugging Face hub `--scorer mlm` reads, and how. This page is written from the
results of `make test-models`, which makes a tiny random checkpoint of every image-text-to-text type
of transformers {transformers}, scores it, and compares with brute force: the model's own forward
without a cache, over what its own processor makes of the whole prompt, once for every answer.
A type holds if no probability differs by more than 1e-4 in float32, and image and caption both
change the answers. **{held} of {count} types hold.**

How to use one, and what the ways cost: [Any model](../guides/any-model.md).

| way | what is read |
|---|---|
| `tree` | the prefix once, in batches; suffixes and answers behind it, in one pass under a mask |
| `cache` | the prefix once, pair by pair; suffixes and answers behind copies of the cache |
| `prompt` | each metric's whole prompt once; answers behind copies of the cache |
| `whole` | prompt and answer together, once for every answer |

`difference` is the largest one to brute force, of any answer's probability; `s` is what the type
took: making, saving, loading, scoring and brute force. A model's way does not depend on the
checkpoint, but for what stands in its `config.json`; Pairsift tries it with one pair when it loads
a checkpoint, and takes the next way if the numbers are not the same.

Run on {date}, in one go, on 2 busy cores of an AMD EPYC: `make test-models` with torch {torch},
torchvision {torchvision}, transformers {transformers}.

## Types that hold

| type | way | difference | s |
|---|---|---|---|
"""

_OTHERS = """
## Types that do not

A type is on this list if Pairsift cannot read it, or if the test cannot make a tiny checkpoint of
it: then a real one may work, and is checked when it is loaded.

| type | why |
|---|---|
"""


def render(results: dict[str, Any]) -> str:
    """The page's text."""
    types = results["types"]
    held = [one for one in types if not one["problem"]]
    text = _HEAD.format(held=len(held), count=len(types), **results)
    for one in held:
        text += (
            f"| `{one['type']}` | {one['way']} | {one['difference']:.0e} | {one['seconds']:.1f} |\n"
        )
    text += _OTHERS
    for one in types:
        if one["problem"]:
            text += f"| `{one['type']}` | {reason(one)} |\n"
    return text


def reason(one: dict[str, Any]) -> str:
    """Why a type is not known to hold, as it stands in a table."""
    told: str = one["problem"].replace("|", "/").replace("<", "&lt;")
    if one["type"] in REASONS:
        return told
    if one["way"]:
        return f"its tiny checkpoint says: {told}"
    return f"no tiny checkpoint could be made or fed: {told}"


if __name__ == "__main__":
    PAGE.write_text(render(json.loads(RESULTS.read_text("utf-8"))), "utf-8")
