"""Mark rows of a score table that are outside what the scorer was trained for.

The scores do not change. The user decides what to do with marked rows, for example with
`--where "out_of_scope is null"`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from pairsift.errors import PairsiftError
from pairsift.languages import MODEL
from pairsift.pair import Pair, Status
from pairsift.scorers.base import Columns, Prepared, Scorer
from pairsift.scorers.scope import CERTAINTY, Reason, Scope, Verdict, judge_caption
from pairsift.scorers.wrapped import WrappedPreparer, Wrapper

LANGUAGE, LANGUAGE_SCORE = "language", "language_score"
NOVELTY, OUT_OF_SCOPE = "image_novelty", "out_of_scope"
COLUMNS = (
    pa.field(LANGUAGE, pa.string()),
    pa.field(LANGUAGE_SCORE, pa.float32()),
    pa.field(NOVELTY, pa.float32()),
    pa.field(OUT_OF_SCOPE, pa.string()),
)


@dataclass(frozen=True, slots=True)
class _JudgingPreparer(WrappedPreparer):
    """Preprocesses pairs for a scorer and also detects the caption's language."""

    scope: Scope

    def __call__(self, pair: Pair) -> Prepared:
        row = self.prepare(pair)
        if row.status is Status.OK:
            row.inputs = (row.inputs, judge_caption(pair.caption or "", self.scope))
        return row


class ScopeMarker(Wrapper):
    """A scorer with four more columns, which mark captions and images it was not trained for.

    The scores do not change. The columns are null where the pair is not scored:

    - ``language``: the most likely language of the caption, an ISO 639 code.
    - ``language_score``: its probability, 0 to 1.
    - ``image_novelty``: how likely it is that the scorer was not trained for such images, 0 to 1;
      null if it cannot tell.
    - ``out_of_scope``: ``language`` if the scorer was almost certainly not trained for the
      language of the caption, else ``image`` if the novelty is above the limit that the scorer
      declares, else null.

    Args:
        scorer: the scorer to mark the rows of.
        languages: ISO 639 codes of the languages that it reads; empty takes those it declares.

    Raises:
        PairsiftError: the scorer declares no languages and none are given, or it already has a
            column of one of these names.

    Examples:
        >>> from pathlib import Path
        >>> import numpy as np
        >>> import pyarrow as pa
        >>> from pairsift import Pair
        >>> from pairsift.scorers.base import Preparer, Scorer
        >>> class Width(Scorer):
        ...     name = "width"
        ...     columns = (pa.field("width_in_pixels", pa.int32()),)
        ...     preparer = Preparer(lambda image, caption: image.width)
        ...     fingerprint = {"scorer": "width", "scorer_version": "1"}
        ...
        ...     def score_batch(self, inputs):
        ...         return {"width_in_pixels": np.array(inputs)}
        >>> image = Path("pool/a.png").read_bytes()
        >>> captions = ["a red square on a white wall", "ein rotes Quadrat an einer weißen Wand"]
        >>> pairs = [Pair(caption[:3], image, caption) for caption in captions]
        >>> table = ScopeMarker(Width(), ["en"]).score(pairs)
        >>> table.select(["language", "out_of_scope"]).to_pylist()[1]
        {'language': 'de', 'out_of_scope': 'language'}
        >>> table.column("out_of_scope").to_pylist()
        [None, 'language']
    """

    name: ClassVar[str] = "scope-marker"

    def __init__(self, scorer: Scorer, languages: Sequence[str] = ()) -> None:
        super().__init__(scorer)
        self.scope = declared = _scope_of(scorer, languages)
        if taken := {field.name for field in scorer.columns} & {field.name for field in COLUMNS}:
            raise PairsiftError(
                f"scorer {scorer.name!r} already has columns named {', '.join(sorted(taken))}: "
                "mark the rows of another scorer"
            )
        self.columns = (*scorer.columns, *COLUMNS)
        self.preparer = _JudgingPreparer(scorer.preparer, declared)

    @property
    def fingerprint(self) -> Mapping[str, str]:
        assert self.scope is not None
        rule = f"captions in {','.join(self.scope.languages)} by {MODEL}, {CERTAINTY:g}"
        if self.scope.novelty_limit is not None:
            rule += f"; images of novelty up to {self.scope.novelty_limit:g}"
        return {**self.scorer.fingerprint, "scope": rule}

    def collate(self, inputs: Sequence[tuple[Any, Verdict]]) -> Any:
        own, verdicts = zip(*inputs, strict=True)
        return own, self.scorer.collate(own), verdicts

    def start(self, collated: Any) -> Callable[[], Columns]:
        own, theirs, verdicts = collated
        fetch = self.scorer.start(theirs)
        novelty = self.scorer.novelty(own)
        if novelty is None:
            novelty = np.full(len(own), np.nan)
        assert self.scope is not None
        limit = np.inf if self.scope.novelty_limit is None else self.scope.novelty_limit
        seen = [Reason.IMAGE if value > limit else None for value in novelty]
        reasons = [v.reason or image for v, image in zip(verdicts, seen, strict=True)]
        marks = {
            LANGUAGE: np.array([verdict.language for verdict in verdicts], object),
            LANGUAGE_SCORE: np.array([verdict.score for verdict in verdicts]),
            NOVELTY: novelty,
            OUT_OF_SCOPE: np.array([reason and reason.value for reason in reasons], object),
        }
        return lambda: {**fetch(), **marks}


def _scope_of(scorer: Scorer, languages: Sequence[str]) -> Scope:
    if languages:
        limit = scorer.scope.novelty_limit if scorer.scope else None
        return Scope(tuple(languages), novelty_limit=limit)
    if scorer.scope is None:
        raise PairsiftError(
            f"scorer {scorer.name!r} does not say what it was trained for; say what languages it "
            "reads, for example --languages en,de"
        )
    return scorer.scope
