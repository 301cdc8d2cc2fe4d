"""Super-resolution: VDSR, SRGAN's networks, their combination, a residual network, VGG losses, VDSR's optimizer."""
