"""Why some types of transformers' list cannot score a caption, whatever is done."""

REASONS = {
    "diffusion_gemma": "writes a block of text at once by diffusion: no answer has a probability",
    "evolla": "reads proteins, no images",
    "instructblip": "its image encoder reads the question, too, so it cannot go first",
    "instructblipvideo": "its image encoder reads the question, too, so it cannot go first",
    "mistral4": "a language model: reads no images",
    "pi0": "gives a robot's movements, no text",
    "pp_formulanet": "reads a formula's image, and takes no words",
    "pix2struct": "reads its question as a part of the picture, and takes no words beside it",
    "shieldgemma2": "a classifier of images, which takes no words",
    "udop": "reads scanned pages with the places of their words, which OCR must find first",
    "vision-encoder-decoder": "describes images, and takes no words",
}
