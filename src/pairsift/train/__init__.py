"""Teaching a multimodal language model to score, on the Hugging Face Trainer.

`settings`     what is asked for, stage by stage
`examples`     what `pairsift balance` wrote, and general instructions, to be learned from
`labels`       a teacher's score as a distribution over 0..100
`items`        preprocess examples exactly as the scorer does
`objective`    model outputs to a loss
`parts`        which parameters are vision tower, projector and language model
`student`      the model in training; saved as a checkpoint that a scorer loads
`checkpoints`  folders that count only once they are whole
`dev`          agreement with the teacher, measured by the scorer itself
`trainer`      Trainer with all of that
`run`          the order of things
"""
