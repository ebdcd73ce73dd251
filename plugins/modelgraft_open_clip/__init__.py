"""The open_clip provider: every pretrained model/tag pair of OpenCLIP as an image and text backbone."""
