"""Data: sources of images, positive pairs, sampling, and the pipeline to batches of pixels."""

import os

# A few kilobytes can announce gigabytes of one grey; no camera takes more pixels than this. OpenCV
# reads its limit once, when it is first imported, so it is told here, before any module of ours
# imports it; processes that are started inherit it. Somebody's own limit stays.
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(1 << 27))
