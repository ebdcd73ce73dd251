"""`embedded/sprig`: a small image-text dual encoder of the project's own, inside the wheel."""
