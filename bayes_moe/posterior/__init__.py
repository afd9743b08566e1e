"""What comes back from a fit: labels, predictions and diagnostics of the draws."""
