"""From neighbours to one position: the vote, the prompt, and the reading of a model's reply."""
