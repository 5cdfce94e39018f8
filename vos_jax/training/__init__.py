"""How a run trains, and goes on after it was stopped."""
