"""What a model's own activations say about its weights: statistics for hfc.quantize, and weights corrected for their errors."""
