"""What a network's weights are before the first step."""
