"""RDE-VOS (Li et al., CVPR 2022)."""
