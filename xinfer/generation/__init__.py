"""What a language model's text means, as it comes: where it stops, what is reasoning, what is a call of a tool. Pure."""
