"""How long a plan's launches take on a card that is not here: the emulator's traces, replayed with a card's timing. docs/predict.md."""
