"""How good what is made is: pure functions on numbers."""
