"""Teachers: scores for pairs that a filter can learn from.

`reference`  nearness to the captions that people wrote for the image; no key, no money.
`openai`     any endpoint that speaks the OpenAI chat protocol.
`local`      any scorer of Pairsift, above all a multimodal model on this machine.

All of them turn candidates (:mod:`pairsift.teach.candidates`) into records
(:mod:`pairsift.teach.records`). `pairsift balance` picks training data from those.
"""
