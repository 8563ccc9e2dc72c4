"""Teachers: they annotate pairs with scores that a filter is trained on.

`reference`  compares a caption with the captions that people wrote for the image; no key, no cost.
`openai`     any endpoint that speaks the OpenAI chat protocol.
`local`      any scorer of Pairsift, usually a large multimodal model on this machine.

A teacher turns candidates (:mod:`pairsift.teach.candidates`) into records
(:mod:`pairsift.teach.records`). `pairsift balance` selects training data from the records.
"""
