"""Video clips with masks, as NumPy arrays; import the module you need."""
