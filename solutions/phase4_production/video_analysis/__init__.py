"""Detection, tracking and classification of video, on the edge and on servers."""
