"""The timm provider: every pretrained model of PyTorch Image Models as an image backbone."""
