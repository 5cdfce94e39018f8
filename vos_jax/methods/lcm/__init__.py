"""LCM (Hu et al., CVPR 2021)."""
