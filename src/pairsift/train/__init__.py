"""Train a multimodal language model to score, with the Hugging Face Trainer.

`settings`     the settings of a run and of its stages
`examples`     training data: what `pairsift balance` wrote, and general instructions
`labels`       a teacher's score as a distribution over a metric's answers
`items`        preprocess examples exactly as the scorer does
`objective`    the loss of the model's outputs
`param_groups` which parameters are vision tower, projector and language model
`student`      the model in training; saved as a checkpoint that a scorer loads
`checkpoints`  folders that count only once they are complete
`dev`          agreement with the teacher, measured by the scorer itself
`trainer`      the Trainer with all of that
`plan`         everything that is known before the model is loaded
`run`          the steps of a run, and how it resumes
"""
