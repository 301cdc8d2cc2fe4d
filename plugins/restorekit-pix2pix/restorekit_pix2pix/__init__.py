"""pix2pix for restorekit: the networks of its PyTorch code, the loss of a pair, and translation as augmentation."""
