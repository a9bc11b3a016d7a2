"""Several answers, judged: candidates, and the choice among them."""
