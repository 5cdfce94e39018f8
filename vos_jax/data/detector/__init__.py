"""An offline detector whose results are a file of proposals: torchvision's Mask R-CNN.

Nothing else in the package needs it, or knows it: any program that writes COCO results
can take its place. PyTorch and torchvision are imported when a network is built.
"""
