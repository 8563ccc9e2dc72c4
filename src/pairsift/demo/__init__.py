"""The demonstration: real photographs, honest and dishonest captions, one run through it all."""
