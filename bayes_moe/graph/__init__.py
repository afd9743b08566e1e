"""Ground floor: pure functions of arrays and tensors, and the one operation that joins gate and experts."""
