"""Many videos: over the devices of a machine, and over machines."""
