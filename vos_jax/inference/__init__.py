"""How a video is segmented."""
