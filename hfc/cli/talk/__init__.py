"""A conversation at a terminal: who answers, what is shown, what is typed."""
