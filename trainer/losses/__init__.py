"""The parts of the objectives' losses: pure functions of tensors, with the other ranks passed in."""
