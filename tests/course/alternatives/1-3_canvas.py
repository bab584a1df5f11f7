"""A canvas that is filled first, and boxes column by column."""

import cv2
import numpy as np


def letterbox(image, width, height, position="topleft", pad=114):
    if 0 in image.shape[:2]:
        raise InferenceError("an empty image")
    h, w = image.shape[:2]
    scale = width / w if width * h <= height * w else height / h
    new_w, new_h = max(1, round(w * scale)), max(1, round(h * scale))
    canvas = np.full((height, width, image.shape[2]), pad, np.uint8)
    small = cv2.resize(np.ascontiguousarray(image), (new_w, new_h), interpolation=cv2.INTER_LINEAR)
    x, y = (0, 0) if position == "topleft" else ((width - new_w) // 2, (height - new_h) // 2)
    canvas[y : y + new_h, x : x + new_w] = small.reshape(new_h, new_w, -1)
    return Letterboxed(canvas, LetterboxTransform(new_w / w, new_h / h, x, y, w, h))


def to_network(self, boxes):
    out = np.empty_like(boxes)
    out[:, 0::2] = boxes[:, 0::2] * self.scale_x + self.left
    out[:, 1::2] = boxes[:, 1::2] * self.scale_y + self.top
    return out


def to_image(self, boxes):
    out = np.empty_like(boxes)
    out[:, 0::2] = ((boxes[:, 0::2] - self.left) / self.scale_x).clip(0, self.width)
    out[:, 1::2] = ((boxes[:, 1::2] - self.top) / self.scale_y).clip(0, self.height)
    return out


LetterboxTransform.to_network = to_network
LetterboxTransform.to_image = to_image
