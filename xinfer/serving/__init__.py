"""One model in one process: tokenise, batch, compute thread, OOM loop."""
